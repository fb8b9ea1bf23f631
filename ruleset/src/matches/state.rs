//! `-m state` (xt_state.c, struct xt_state_info): INVALID NEW ESTABLISHED RELATED UNTRACKED.

use super::CtStates;
use crate::matches::MatchKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m state` (xt_state.c, struct xt_state_info): INVALID NEW ESTABLISHED RELATED UNTRACKED.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct State {
    /// The states.
    pub states: CtStates,
    /// `! --state`. Legacy stores it as the complement; it prints `! --state`.
    pub invert: bool,
}

impl Text for State {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{} --state", if self.invert { " !" } else { "" })?;
        self.states.write(out)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{} state", if self.invert { " !" } else { "" })?;
        self.states.write(out)
    }
}

impl MatchKind for State {}
