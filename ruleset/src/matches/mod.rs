//! The matches, one file each.

pub mod addrtype;
pub mod ah;
pub mod ah6;
pub mod bpf;
pub mod cgroup;
pub mod cluster;
pub mod comment;
pub mod connbytes;
pub mod connlabel;
pub mod connlimit;
pub mod connmark;
pub mod conntrack;
pub mod cpu;
pub mod dccp;
pub mod devgroup;
pub mod dscp;
pub mod dst;
pub mod ecn;
pub mod esp;
pub mod eui64;
pub mod frag;
pub mod hashlimit;
pub mod hbh;
pub mod helper;
pub mod hl;
pub mod icmp;
pub mod icmp6;
pub mod ipcomp;
pub mod iprange;
pub mod ipv6header;
pub mod ipvs;
pub mod length;
pub mod limit;
pub mod mac;
pub mod mark;
pub mod mh;
pub mod multiport;
pub mod nfacct;
pub mod osf;
pub mod owner;
pub mod physdev;
pub mod pkttype;
pub mod policy;
pub mod quota;
pub mod rateest;
pub mod realm;
pub mod recent;
pub mod rpfilter;
pub mod rt;
pub mod sctp;
pub mod set;
pub mod socket;
pub mod srh;
pub mod state;
pub mod statistic;
pub mod string;
pub mod tcp;
pub mod tcpmss;
pub mod time;
pub mod tos;
pub mod ttl;
pub mod u32_test;
pub mod udp;

pub use addrtype::Addrtype;
pub use ah::Ah;
pub use ah6::Ah6;
pub use bpf::Bpf;
pub use cgroup::Cgroup;
pub use cluster::Cluster;
pub use comment::Comment;
pub use connbytes::{Connbytes, ConnbytesDirection, ConnbytesMode};
pub use connlabel::Connlabel;
pub use connlimit::Connlimit;
pub use connmark::Connmark;
pub use conntrack::Conntrack;
pub use cpu::Cpu;
pub use dccp::Dccp;
pub use devgroup::{Devgroup, NamedValue};
pub use dscp::Dscp;
pub use dst::Dst;
pub use ecn::Ecn;
pub use esp::Esp;
pub use eui64::Eui64;
pub use frag::Frag;
pub use hashlimit::Hashlimit;
pub use hbh::Hbh;
pub use helper::Helper;
pub use hl::Hl;
pub use icmp::Icmp;
pub use icmp6::Icmp6;
pub use ipcomp::Ipcomp;
pub use iprange::Iprange;
pub use ipv6header::Ipv6header;
pub use ipvs::Ipvs;
pub use length::Length;
pub use limit::Limit;
pub use mac::Mac;
pub use mark::Mark;
pub use mh::Mh;
pub use multiport::{Multiport, MultiportEntry, MultiportSide};
pub use nfacct::Nfacct;
pub use osf::Osf;
pub use owner::Owner;
pub use physdev::Physdev;
pub use pkttype::Pkttype;
pub use policy::Policy;
pub use quota::Quota;
pub use rateest::Rateest;
pub use realm::Realm;
pub use recent::{Recent, RecentOp};
pub use rpfilter::Rpfilter;
pub use rt::Rt;
pub use sctp::Sctp;
pub use set::Set;
pub use socket::Socket;
pub use srh::Srh;
pub use state::State;
pub use statistic::{Statistic, StatisticMode};
pub use string::StringMatch;
pub use tcp::Tcp;
pub use tcpmss::Tcpmss;
pub use time::Time;
pub use tos::Tos;
pub use ttl::{HopComparison, Ttl};
pub use u32_test::U32;
pub use udp::Udp;

use crate::check::{Place, Problem};
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

/// What every kind of match can do besides being asked about packets.
pub(crate) trait MatchKind: Text {
    /// What the kernel holds against it at this place (its tables, hooks and protocol, and its `checkentry`).
    fn check(&self, _place: Place) -> Result<(), Problem> {
        Ok(())
    }
}

impl<T: MatchKind> MatchKind for Box<T> {
    fn check(&self, place: Place) -> Result<(), Problem> {
        (**self).check(place)
    }
}

/// The table of matches: adding one is its file and its line here.
macro_rules! matches_table {
    ($($variant:ident($held:ty) = $name:literal,)*) => {
        /// One `-m` of a rule.
        #[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Match {
            $(
                #[doc = concat!("`-m ", $name, "`.")]
                $variant($held),
            )*
        }

        impl Match {
            /// The name after `-m`.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $name,)*
                }
            }

            fn kind(&self) -> &dyn MatchKind {
                match self {
                    $(Self::$variant(m) => m,)*
                }
            }
        }
    };
}

matches_table! {
    Addrtype(Addrtype) = "addrtype",
    Ah(Ah) = "ah",
    Ah6(Ah6) = "ah",
    Bpf(Bpf) = "bpf",
    Cgroup(Box<Cgroup>) = "cgroup",
    Cluster(Cluster) = "cluster",
    Comment(Comment) = "comment",
    Connbytes(Connbytes) = "connbytes",
    Connlabel(Connlabel) = "connlabel",
    Connlimit(Connlimit) = "connlimit",
    Connmark(Connmark) = "connmark",
    Conntrack(Box<Conntrack>) = "conntrack",
    Cpu(Cpu) = "cpu",
    Dccp(Dccp) = "dccp",
    Devgroup(Box<Devgroup>) = "devgroup",
    Dscp(Dscp) = "dscp",
    Dst(Box<Dst>) = "dst",
    Ecn(Ecn) = "ecn",
    Esp(Esp) = "esp",
    Eui64(Eui64) = "eui64",
    Frag(Frag) = "frag",
    Hashlimit(Box<Hashlimit>) = "hashlimit",
    Hbh(Box<Hbh>) = "hbh",
    Helper(Helper) = "helper",
    Hl(Hl) = "hl",
    Icmp(Icmp) = "icmp",
    Icmp6(Icmp6) = "icmp6",
    Ipcomp(Ipcomp) = "ipcomp",
    Iprange(Box<Iprange>) = "iprange",
    Ipv6header(Ipv6header) = "ipv6header",
    Ipvs(Box<Ipvs>) = "ipvs",
    Length(Length) = "length",
    Limit(Limit) = "limit",
    Mac(Mac) = "mac",
    Mark(Mark) = "mark",
    Mh(Mh) = "mh",
    Multiport(Multiport) = "multiport",
    Nfacct(Nfacct) = "nfacct",
    Osf(Osf) = "osf",
    Owner(Owner) = "owner",
    Physdev(Box<Physdev>) = "physdev",
    Pkttype(Pkttype) = "pkttype",
    Policy(Box<Policy>) = "policy",
    Quota(Quota) = "quota",
    Rateest(Box<Rateest>) = "rateest",
    Realm(Realm) = "realm",
    Recent(Box<Recent>) = "recent",
    Rpfilter(Rpfilter) = "rpfilter",
    Rt(Box<Rt>) = "rt",
    Sctp(Box<Sctp>) = "sctp",
    Set(Box<Set>) = "set",
    Socket(Socket) = "socket",
    Srh(Box<Srh>) = "srh",
    State(State) = "state",
    Statistic(Statistic) = "statistic",
    String(Box<StringMatch>) = "string",
    Tcp(Tcp) = "tcp",
    Tcpmss(Tcpmss) = "tcpmss",
    Time(Box<Time>) = "time",
    Tos(Tos) = "tos",
    Ttl(Ttl) = "ttl",
    U32(U32) = "u32",
    Udp(Udp) = "udp",
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
    /// What the kernel holds against it at this place.
    pub(crate) fn check(&self, place: Place) -> Result<(), Problem> {
        self.kind().check(place)
    }
}

impl Text for Match {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.kind().save(out)
    }

    fn list(&self, cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        self.kind().list(cx, out)
    }
}
