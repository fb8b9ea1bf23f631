//! Rules.

use crate::addr::{AddrMatch, IfacePattern};
use crate::counters::{CounterView, Counters, Slot};
use crate::matches::Match;
use crate::targets::Target;
use serde::{Deserialize, Serialize};

/// What a rule asks of the IP header and the devices before its matches are asked (`struct ipt_ip`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IpMatch {
    /// `-s`.
    pub src: Option<AddrMatch>,
    /// `-d`.
    pub dst: Option<AddrMatch>,
    /// `-i`.
    pub iif: Option<IfacePattern>,
    /// `-o`.
    pub oif: Option<IfacePattern>,
    /// `[!] -p`: the protocol number and whether `!` was given. Without `-p`, and in IPv4 with `-p all`, `None`. In IPv6 `-p all` is
    /// `Some((0, false))`: a rule that has it makes the kernel walk the extension headers, which drops packets whose headers are broken,
    /// and is another rule for -C and -D, though no text tells it apart (`IP6T_F_PROTO`).
    pub proto: Option<(u8, bool)>,
    /// `-f` (`Some(false)`) or `! -f` (`Some(true)`): second and further fragments. IPv4 only.
    pub fragment: Option<bool>,
}

/// By which a restore knows the line again that made a rule: a digest of the line and of all else that says what it means. Equal ones are
/// of equal lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LineId(pub [u8; 16]);

impl LineId {
    /// Of a rule that no such line made, or not that line alone.
    pub const NONE: Self = Self([0; 16]);
}

/// A rule: what must hold, in order, and what then happens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rule {
    /// Header and devices.
    pub ip: IpMatch,
    /// The matches in the order given: the order is part of a rule's identity, and of what stateful matches see.
    pub matches: Vec<Match>,
    /// What happens when all hold.
    pub target: Target,
    /// Where the rule counts.
    pub slot: Slot,
    /// To be added (wrapping) to what the kernel counted in `slot`.
    pub offset: Counters,
    /// The line that made it.
    #[serde(skip)]
    pub line: LineId,
}

impl Rule {
    /// A rule that counted nothing yet.
    #[must_use]
    pub fn new(ip: IpMatch, matches: Vec<Match>, target: Target) -> Self {
        Self { ip, matches, target, slot: Slot::UNASSIGNED, offset: Counters::default(), line: LineId::NONE }
    }

    /// The counters as a person sees them.
    pub fn counters(&self, view: &dyn CounterView) -> Counters {
        view.get(self.slot).plus(self.offset)
    }
}

/// Two rules are the same (for -C and -D) when they say the same; counters do not count, nor who made them.
impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.ip == other.ip && self.matches == other.matches && self.target == other.target
    }
}

impl Eq for Rule {}
