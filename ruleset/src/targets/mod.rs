//! The targets, one file each.

pub mod audit;
pub mod checksum;
pub mod classify;
pub mod clusterip;
pub mod connmark;
pub mod connsecmark;
pub mod ct;
pub mod dscp;
pub mod ecn;
pub mod hl;
pub mod hmark;
pub mod idletimer;
pub mod led;
pub mod log;
pub mod mark;
pub mod masquerade;
pub mod nat;
pub mod netmap;
pub mod nflog;
pub mod nfqueue;
pub mod npt;
pub mod queue;
pub mod rateest;
pub mod redirect;
pub mod reject;
pub mod secmark;
pub mod set;
pub mod synproxy;
pub mod tcpmss;
pub mod tcpoptstrip;
pub mod tee;
pub mod tos;
pub mod tproxy;
pub mod trace;
pub mod ttl;
pub mod ulog;

pub use audit::Audit;
pub use checksum::Checksum;
pub use classify::Classify;
pub use clusterip::Clusterip;
pub use connmark::ConnmarkSet;
pub use connsecmark::Connsecmark;
pub use ct::CtSet;
pub use dscp::DscpSet;
pub use ecn::EcnSet;
pub use hl::HlSet;
pub use hmark::Hmark;
pub use idletimer::Idletimer;
pub use led::Led;
pub use log::Log;
pub use mark::MarkSet;
pub use masquerade::Masquerade;
pub use nat::NatRange;
pub use netmap::Netmap;
pub use nflog::Nflog;
pub use nfqueue::Nfqueue;
pub use npt::{Dnpt, Snpt};
pub use queue::Queue;
pub use rateest::Rateest;
pub use redirect::Redirect;
pub use reject::RejectWith;
pub use secmark::Secmark;
pub use set::{NamedSet, SetChange};
pub use synproxy::Synproxy;
pub use tcpmss::TcpmssSet;
pub use tcpoptstrip::Tcpoptstrip;
pub use tee::Tee;
pub use tos::TosSet;
pub use tproxy::Tproxy;
pub use trace::Trace;
pub use ttl::{HopChange, TtlSet};
pub use ulog::Ulog;

use crate::chain::ChainName;
use crate::check::{Place, Problem};
use crate::rule::Rule;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What every target of the table can do besides being met by packets.
pub(crate) trait TargetKind: Text {
    /// What the kernel holds against it at this place (its tables, hooks and protocol, and its `checkentry`).
    fn check(&self, _place: Place, _rule: &Rule) -> Result<(), Problem> {
        Ok(())
    }
}

impl<T: TargetKind> TargetKind for Box<T> {
    fn check(&self, place: Place, rule: &Rule) -> Result<(), Problem> {
        (**self).check(place, rule)
    }
}

/// The enum of targets. Its last part is a table: adding a target is its file and its line there.
macro_rules! targets_table {
    (
        $(#[$outer:meta])*
        pub enum Target { $($plain:tt)* }
        $($variant:ident($held:ty) = $name:literal,)*
    ) => {
        $(#[$outer])*
        pub enum Target {
            $($plain)*
            $(
                #[doc = concat!("`-j ", $name, "`.")]
                $variant($held),
            )*
        }

        impl Target {
            /// The target, if it is one of the table.
            pub(crate) fn kind(&self) -> Option<&dyn TargetKind> {
                match self {
                    $(Self::$variant(target) => Some(target),)*
                    _ => None,
                }
            }

            /// The name of a target of the table; empty for others.
            pub(crate) const fn table_name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $name,)*
                    _ => "",
                }
            }
        }
    };
}

targets_table! {
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
    /// `-j NOTRACK`.
    Notrack,
}
Audit(Audit) = "AUDIT",
Checksum(Checksum) = "CHECKSUM",
Classify(Classify) = "CLASSIFY",
Clusterip(Box<Clusterip>) = "CLUSTERIP",
Connsecmark(Connsecmark) = "CONNSECMARK",
Ct(Box<CtSet>) = "CT",
Dnpt(Box<Dnpt>) = "DNPT",
Dscp(DscpSet) = "DSCP",
Ecn(EcnSet) = "ECN",
Hl(HlSet) = "HL",
Hmark(Box<Hmark>) = "HMARK",
Idletimer(Idletimer) = "IDLETIMER",
Led(Led) = "LED",
Log(Log) = "LOG",
Nflog(Nflog) = "NFLOG",
Nfqueue(Nfqueue) = "NFQUEUE",
Queue(Queue) = "QUEUE",
Rateest(Rateest) = "RATEEST",
Secmark(Secmark) = "SECMARK",
Set(Box<SetChange>) = "SET",
Snpt(Box<Snpt>) = "SNPT",
Synproxy(Synproxy) = "SYNPROXY",
Tcpmss(TcpmssSet) = "TCPMSS",
Tcpoptstrip(Tcpoptstrip) = "TCPOPTSTRIP",
Tee(Tee) = "TEE",
Tos(TosSet) = "TOS",
Tproxy(Tproxy) = "TPROXY",
Trace(Trace) = "TRACE",
Ttl(TtlSet) = "TTL",
Ulog(Box<Ulog>) = "ULOG",
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
            Self::Notrack => "NOTRACK",
            other => other.table_name(),
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
            other => other.kind().map_or(Ok(()), |target| target.save(out)),
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
            Self::Notrack => out.write_str(" NOTRACK"),
            other => other.kind().map_or(Ok(()), |target| target.list(cx, out)),
        }
    }
}
