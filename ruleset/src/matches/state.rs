//! `-m state` (xt_state.c, struct xt_state_info): INVALID NEW ESTABLISHED RELATED UNTRACKED.

use super::CtStates;
use serde::{Deserialize, Serialize};

/// `-m state` (xt_state.c, struct xt_state_info): INVALID NEW ESTABLISHED RELATED UNTRACKED.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct State {
    /// The states.
    pub states: CtStates,
    /// `! --state`. Legacy stores it as the complement; it prints `! --state`.
    pub invert: bool,
}
