//! `-j SECMARK` (xt_SECMARK.c): a security mark for packets. No security module that this could be told to is asked: the kernel
//! refuses the context, and so does the check here.

use super::TargetKind;
use crate::check::{Place, Problem};
use crate::rule::Rule;
use crate::table::TableKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-j SECMARK`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Secmark {
    /// `--selctx`, at most [`Secmark::MAX_CONTEXT`] bytes.
    pub context: Box<str>,
}

impl Secmark {
    /// The longest context, in bytes; what is longer is cut.
    pub const MAX_CONTEXT: usize = 255;
}

impl TargetKind for Secmark {
    fn check(&self, place: Place, _: &Rule) -> Result<(), Problem> {
        place.in_tables(&[TableKind::Mangle, TableKind::Security], "SECMARK belongs in mangle and security")?;
        Err(Problem::Missing("no security module knows the context"))
    }
}

impl Text for Secmark {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " --selctx {}", self.context)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " SECMARK selctx {}", self.context)
    }
}
