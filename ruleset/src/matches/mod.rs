//! The matches, one file each.

pub mod addrtype;
pub mod comment;
pub mod connmark;
pub mod conntrack;
pub mod icmp;
pub mod limit;
pub mod mark;
pub mod multiport;
pub mod recent;
pub mod state;
pub mod statistic;
pub mod tcp;
pub mod udp;

pub use addrtype::Addrtype;
pub use comment::Comment;
pub use connmark::Connmark;
pub use conntrack::Conntrack;
pub use icmp::Icmp;
pub use limit::Limit;
pub use mark::Mark;
pub use multiport::{Multiport, MultiportEntry, MultiportSide};
pub use recent::{Recent, RecentOp};
pub use state::State;
pub use statistic::{Statistic, StatisticMode};
pub use tcp::Tcp;
pub use udp::Udp;

use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A set of connection states, as bits. SNAT and DNAT are the virtual states of `--ctstate`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CtStates(pub u16);

impl CtStates {
    /// No connection could be found or made.
    pub const INVALID: u16 = 1;
    /// Both directions seen.
    pub const ESTABLISHED: u16 = 2;
    /// Begun by another connection, or an ICMP error about one.
    pub const RELATED: u16 = 4;
    /// No answer seen yet.
    pub const NEW: u16 = 8;
    /// Not tracked (`CT --notrack`).
    pub const UNTRACKED: u16 = 16;
    /// The source was translated.
    pub const SNAT: u16 = 32;
    /// The destination was translated.
    pub const DNAT: u16 = 64;
}

/// A set of connection status bits (`--ctstatus`), numbered as `enum ip_conntrack_status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CtStatus(pub u8);

impl CtStatus {
    /// Expected by another connection (never set here: no helpers).
    pub const EXPECTED: u8 = 1;
    /// An answer was seen.
    pub const SEEN_REPLY: u8 = 2;
    /// Not to be dropped early.
    pub const ASSURED: u8 = 4;
    /// Its first packet has left the hooks.
    pub const CONFIRMED: u8 = 8;
}

/// One `-m` of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Match {
    /// `-m addrtype`.
    Addrtype(Addrtype),
    /// `-m comment`.
    Comment(Comment),
    /// `-m connmark`.
    Connmark(Connmark),
    /// `-m conntrack`.
    Conntrack(Box<Conntrack>),
    /// `-m icmp`.
    Icmp(Icmp),
    /// `-m limit`.
    Limit(Limit),
    /// `-m mark`.
    Mark(Mark),
    /// `-m multiport`.
    Multiport(Multiport),
    /// `-m recent`.
    Recent(Box<Recent>),
    /// `-m state`.
    State(State),
    /// `-m statistic`.
    Statistic(Statistic),
    /// `-m tcp`.
    Tcp(Tcp),
    /// `-m udp`.
    Udp(Udp),
}

fn write_names(bits: u16, names: &[(u16, &str)], none: &str, out: &mut dyn fmt::Write) -> fmt::Result {
    let mut separator = " ";
    for (bit, name) in names {
        if bits & bit != 0 {
            write!(out, "{separator}{name}")?;
            separator = ",";
        }
    }
    if bits == 0 { out.write_str(none) } else { Ok(()) }
}

impl CtStates {
    /// A space and the list, in legacy's order.
    pub(crate) fn write(self, out: &mut dyn fmt::Write) -> fmt::Result {
        const NAMES: &[(u16, &str)] = &[
            (CtStates::INVALID, "INVALID"),
            (CtStates::NEW, "NEW"),
            (CtStates::RELATED, "RELATED"),
            (CtStates::ESTABLISHED, "ESTABLISHED"),
            (CtStates::UNTRACKED, "UNTRACKED"),
            (CtStates::SNAT, "SNAT"),
            (CtStates::DNAT, "DNAT"),
        ];
        write_names(self.0, NAMES, "", out)
    }
}

impl CtStatus {
    /// A space and the list, in legacy's order.
    pub(crate) fn write(self, out: &mut dyn fmt::Write) -> fmt::Result {
        const NAMES: &[(u16, &str)] = &[
            (CtStatus::EXPECTED as u16, "EXPECTED"),
            (CtStatus::SEEN_REPLY as u16, "SEEN_REPLY"),
            (CtStatus::ASSURED as u16, "ASSURED"),
            (CtStatus::CONFIRMED as u16, "CONFIRMED"),
        ];
        write_names(self.0.into(), NAMES, " NONE", out)
    }
}

impl Match {
    /// The name after `-m`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Addrtype(_) => "addrtype",
            Self::Comment(_) => "comment",
            Self::Connmark(_) => "connmark",
            Self::Conntrack(_) => "conntrack",
            Self::Icmp(_) => "icmp",
            Self::Limit(_) => "limit",
            Self::Mark(_) => "mark",
            Self::Multiport(_) => "multiport",
            Self::Recent(_) => "recent",
            Self::State(_) => "state",
            Self::Statistic(_) => "statistic",
            Self::Tcp(_) => "tcp",
            Self::Udp(_) => "udp",
        }
    }

    fn text(&self) -> &dyn Text {
        match self {
            Self::Addrtype(m) => m,
            Self::Comment(m) => m,
            Self::Connmark(m) => m,
            Self::Conntrack(m) => &**m,
            Self::Icmp(m) => m,
            Self::Limit(m) => m,
            Self::Mark(m) => m,
            Self::Multiport(m) => m,
            Self::Recent(m) => &**m,
            Self::State(m) => m,
            Self::Statistic(m) => m,
            Self::Tcp(m) => m,
            Self::Udp(m) => m,
        }
    }
}

impl Text for Match {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.text().save(out)
    }

    fn list(&self, cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        self.text().list(cx, out)
    }
}
