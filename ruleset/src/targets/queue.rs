//! `-j QUEUE`: what NFQUEUE was before. It is a verdict of the standard target, and the kernel takes it as queue 0.

use super::TargetKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-j QUEUE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Queue;

impl TargetKind for Queue {}

impl Text for Queue {
    fn save(&self, _out: &mut dyn fmt::Write) -> fmt::Result {
        Ok(())
    }

    fn list(&self, _cx: &ListContext<'_>, _out: &mut dyn fmt::Write) -> fmt::Result {
        Ok(())
    }
}
