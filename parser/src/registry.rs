//! Which extensions there are: supported here, and known to legacy only.

use crate::error::{ExtensionKind, ParseError};
use crate::ext::{self, MatchBuilder, TargetBuilder};
use bpftables_ruleset::{Family, Target, matches};

/// The longest name of a match, target or chain, in bytes.
pub(crate) const MAX_NAME: usize = 28;

/// Matches of legacy that are not supported here.
const LEGACY_MATCHES: &[&str] = &[
    "ah",
    "bpf",
    "cgroup",
    "cluster",
    "connbytes",
    "connlabel",
    "connlimit",
    "cpu",
    "dccp",
    "devgroup",
    "ecn",
    "esp",
    "hashlimit",
    "helper",
    "ipcomp",
    "iprange",
    "ipvs",
    "mac",
    "nfacct",
    "osf",
    "owner",
    "physdev",
    "pkttype",
    "policy",
    "quota",
    "rateest",
    "realm",
    "sctp",
    "set",
    "socket",
    "string",
    "tcpmss",
    "time",
    "tos",
    "ttl",
    "u32",
];

/// Targets of legacy that are not supported here.
const LEGACY_TARGETS: &[&str] = &[
    "AUDIT",
    "CHECKSUM",
    "CLASSIFY",
    "CLUSTERIP",
    "CONNSECMARK",
    "DSCP",
    "ECN",
    "HMARK",
    "IDLETIMER",
    "LED",
    "NFQUEUE",
    "QUEUE",
    "RATEEST",
    "SECMARK",
    "SET",
    "SYNPROXY",
    "TCPMSS",
    "TCPOPTSTRIP",
    "TEE",
    "TOS",
    "TPROXY",
    "TTL",
    "ULOG",
];

/// The families that have an extension.
enum Families {
    /// Both.
    Any,
    /// IPv4 alone.
    V4,
}

impl Families {
    const fn has(&self, family: Family) -> bool {
        matches!((self, family), (Self::Any, _) | (Self::V4, Family::V4))
    }
}

/// A match of the command line.
struct MatchEntry {
    name: &'static str,
    families: Families,
    new: fn(Family) -> Box<MatchBuilder>,
}

const fn entry(name: &'static str, families: Families, new: fn(Family) -> Box<MatchBuilder>) -> MatchEntry {
    MatchEntry { name, families, new }
}

/// The table of matches.
const MATCHES: &[MatchEntry] = &[
    entry("addrtype", Families::Any, |_| Box::new(ext::addrtype::AddrtypeBuilder::default())),
    entry("comment", Families::Any, |_| Box::new(ext::comment::CommentBuilder::default())),
    entry("connmark", Families::Any, |_| Box::new(ext::mark::MarkMatchBuilder::connmark())),
    entry("conntrack", Families::Any, |_| Box::new(ext::conntrack::ConntrackBuilder::default())),
    entry("dscp", Families::Any, |_| Box::new(matches::Dscp::default())),
    entry("icmp", Families::V4, |_| Box::new(ext::icmp::IcmpBuilder::default())),
    entry("length", Families::Any, |_| Box::new(matches::Length::default())),
    entry("limit", Families::Any, |_| Box::new(ext::limit::LimitBuilder::default())),
    entry("mark", Families::Any, |_| Box::new(ext::mark::MarkMatchBuilder::mark())),
    entry("multiport", Families::Any, |_| Box::new(ext::multiport::MultiportBuilder::default())),
    entry("recent", Families::Any, |_| Box::new(ext::recent::RecentBuilder::default())),
    entry("rpfilter", Families::Any, |_| Box::new(matches::Rpfilter::default())),
    entry("state", Families::Any, |_| Box::new(ext::conntrack::StateBuilder::default())),
    entry("statistic", Families::Any, |_| Box::new(ext::statistic::StatisticBuilder::default())),
    entry("tcp", Families::Any, |_| Box::new(ext::tcp::TcpBuilder::default())),
    entry("udp", Families::Any, |_| Box::new(ext::udp::UdpBuilder::default())),
];

/// What a name of a target turns out to be.
pub(crate) enum FoundTarget {
    /// A verdict.
    Verdict(Target),
    /// An extension.
    Extension(Box<TargetBuilder>),
    /// Legacy's, not ours.
    Unsupported,
    /// A name that legacy keeps for its own use; no chain can have it, and no rule can jump to it.
    Reserved,
    /// Nothing that legacy has: perhaps a chain.
    Unknown,
}

/// The match of a name; `None` when there is none such.
pub(crate) fn find_match(name: &str, family: Family) -> Result<Option<Box<MatchBuilder>>, ParseError> {
    if name.len() > MAX_NAME {
        return Err(ParseError::Parameter(format!("Invalid match name \"{name}\" ({MAX_NAME} chars max)")));
    }
    if let Some(entry) = MATCHES.iter().find(|entry| entry.name == name && entry.families.has(family)) {
        return Ok(Some((entry.new)(family)));
    }
    if LEGACY_MATCHES.contains(&name) {
        return Err(no_extension(ExtensionKind::Match, name));
    }
    Ok(None)
}

/// The target of a name.
pub(crate) fn find_target(name: &str) -> FoundTarget {
    match name {
        "ACCEPT" => FoundTarget::Verdict(Target::Accept),
        "DROP" => FoundTarget::Verdict(Target::Drop),
        "RETURN" => FoundTarget::Verdict(Target::Return),
        "" | "standard" => FoundTarget::Reserved,
        "CONNMARK" => FoundTarget::Extension(Box::new(ext::mark::ConnmarkTargetBuilder::default())),
        "CT" => FoundTarget::Extension(Box::new(ext::ct_target::CtBuilder::default())),
        "DNAT" => FoundTarget::Extension(Box::new(ext::nat_targets::NatBuilder::dnat())),
        "LOG" => FoundTarget::Extension(Box::new(ext::log::LogBuilder::default())),
        "MARK" => FoundTarget::Extension(Box::new(ext::mark::MarkTargetBuilder::default())),
        "MASQUERADE" => FoundTarget::Extension(Box::new(ext::nat_targets::NatBuilder::masquerade())),
        "NETMAP" => FoundTarget::Extension(Box::new(ext::nat_targets::NetmapBuilder::default())),
        "NFLOG" => FoundTarget::Extension(Box::new(ext::nflog::NflogBuilder::default())),
        "NOTRACK" => FoundTarget::Extension(Box::new(ext::ct_target::NotrackBuilder)),
        "REDIRECT" => FoundTarget::Extension(Box::new(ext::nat_targets::NatBuilder::redirect())),
        "REJECT" => FoundTarget::Extension(Box::new(ext::reject::RejectBuilder::default())),
        "SNAT" => FoundTarget::Extension(Box::new(ext::nat_targets::NatBuilder::snat())),
        "TRACE" => FoundTarget::Extension(Box::new(ext::trace::TraceBuilder)),
        _ if LEGACY_TARGETS.contains(&name) => FoundTarget::Unsupported,
        _ => FoundTarget::Unknown,
    }
}

/// The error for a name that is no extension here: missing altogether, or legacy's only.
pub(crate) fn no_extension(kind: ExtensionKind, name: &str) -> ParseError {
    let known = match kind {
        ExtensionKind::Match => LEGACY_MATCHES.contains(&name),
        ExtensionKind::Target => LEGACY_TARGETS.contains(&name),
    };
    let name = name.to_owned();
    if known { ParseError::UnsupportedExtension { kind, name } } else { ParseError::MissingExtension { kind, name } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_refused_by_its_name() {
        assert!(matches!(find_target("QUEUE"), FoundTarget::Unsupported));
        assert_eq!(
            no_extension(ExtensionKind::Target, "QUEUE").to_string(),
            "target `QUEUE' is known to iptables but not supported by this version of bpftables\n"
        );
    }
}
