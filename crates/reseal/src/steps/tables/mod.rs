//! Steps that are tables of rules. What stands in them is data that Windows, or the program, makes anew.

pub(super) mod identity;
pub(super) mod network;
pub(super) mod secrets;
pub(super) mod traces;

use super::Spec;
use crate::scope::Scope;

/// What tables of rules have in common.
const TABLE: Spec = Spec { writes: &[Scope::Rules], ..Spec::BASE };
