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

use serde::{Deserialize, Serialize};

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
