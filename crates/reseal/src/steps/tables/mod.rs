//! Steps that are tables of rules. What stands in them is data that Windows, or the program, makes anew.

pub(super) mod identity;
pub(super) mod network;
pub(super) mod secrets;
pub(super) mod traces;

use super::{Evidence, Spec, Use};
use crate::scope::Scope;

/// What tables of rules have in common; each says what is different.
const TABLE: Spec = Spec {
    id: "",
    title: "",
    about: "",
    phase: "traces",
    mirrors: &[],
    evidence: Evidence::Unverified,
    unproven: "",
    client: Use::On,
    server: Use::On,
    writes: &[Scope::Rules],
    actions: &[],
};
