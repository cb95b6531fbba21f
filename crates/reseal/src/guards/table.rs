//! All groups, in the order in which they run.

use super::Check;

pub(super) static TABLE: &[&[Check]] = &[
    super::volume::CHECKS,
    super::hives::CHECKS,
    super::servicing::CHECKS,
    super::setup_state::CHECKS,
    super::membership::CHECKS,
    super::role_table::CHECKS,
    super::apps::CHECKS,
    super::users::CHECKS,
    super::profiles::CHECKS,
    super::secrets::CHECKS,
    super::remote::CHECKS,
    super::disk::CHECKS,
    super::boot::CHECKS,
];
