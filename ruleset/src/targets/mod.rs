//! The targets, one file each.

pub mod connmark;
pub mod mark;
pub mod masquerade;
pub mod nat;
pub mod netmap;
pub mod redirect;
pub mod reject;

pub use connmark::ConnmarkSet;
pub use mark::MarkSet;
pub use masquerade::Masquerade;
pub use nat::NatRange;
pub use netmap::Netmap;
pub use redirect::Redirect;
pub use reject::RejectWith;

use crate::chain::ChainName;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a rule does with a packet that it matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Target {
    /// No `-j`: counts only.
    None,
    /// `-j ACCEPT`.
    Accept,
    /// `-j DROP`.
    Drop,
    /// `-j RETURN`.
    Return,
    /// `-j CHAIN`.
    Jump(ChainName),
    /// `-g CHAIN`.
    Goto(ChainName),
    /// `-j REJECT`.
    Reject(RejectWith),
    /// `-j MARK`.
    Mark(MarkSet),
    /// `-j CONNMARK`.
    Connmark(ConnmarkSet),
    /// `-j DNAT`.
    Dnat(NatRange),
    /// `-j SNAT`.
    Snat(NatRange),
    /// `-j MASQUERADE`.
    Masquerade(Masquerade),
    /// `-j REDIRECT`.
    Redirect(Redirect),
    /// `-j NETMAP`.
    Netmap(Netmap),
    /// `-j CT --notrack`.
    CtNotrack,
    /// `-j NOTRACK`.
    Notrack,
}

impl Target {
    /// The name after `-j` or `-g`; empty without a target.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::None => "",
            Self::Accept => "ACCEPT",
            Self::Drop => "DROP",
            Self::Return => "RETURN",
            Self::Jump(chain) | Self::Goto(chain) => &chain.0,
            Self::Reject(_) => "REJECT",
            Self::Mark(_) => "MARK",
            Self::Connmark(_) => "CONNMARK",
            Self::Dnat(_) => "DNAT",
            Self::Snat(_) => "SNAT",
            Self::Masquerade(_) => "MASQUERADE",
            Self::Redirect(_) => "REDIRECT",
            Self::Netmap(_) => "NETMAP",
            Self::CtNotrack => "CT",
            Self::Notrack => "NOTRACK",
        }
    }

    /// The name in a listing, where NOTRACK goes by what the kernel knows it as.
    #[must_use]
    pub fn kernel_name(&self) -> &str {
        match self {
            Self::Notrack => "CT",
            other => other.name(),
        }
    }
}

impl Text for Target {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        match self {
            Self::Reject(t) => t.save(out),
            Self::Mark(t) => t.save(out),
            Self::Connmark(t) => t.save(out),
            Self::Dnat(t) => t.write("--to-destination ", "--", out),
            Self::Snat(t) => t.write("--to-source ", "--", out),
            Self::Masquerade(t) => t.save(out),
            Self::Redirect(t) => t.save(out),
            Self::Netmap(t) => t.save(out),
            Self::CtNotrack => out.write_str(" --notrack"),
            _ => Ok(()),
        }
    }

    fn list(&self, cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        match self {
            Self::Reject(t) => t.list(cx, out),
            Self::Mark(t) => t.list(cx, out),
            Self::Connmark(t) => t.list(cx, out),
            Self::Dnat(t) | Self::Snat(t) => t.write("to:", "", out),
            Self::Masquerade(t) => t.list(cx, out),
            Self::Redirect(t) => t.list(cx, out),
            Self::Netmap(t) => t.list(cx, out),
            Self::CtNotrack => out.write_str(" CT notrack"),
            Self::Notrack => out.write_str(" NOTRACK"),
            _ => Ok(()),
        }
    }
}
