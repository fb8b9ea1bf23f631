//! Which extensions there are: supported here, and known to legacy only.

use crate::error::{ExtensionKind, ParseError};
use crate::ext::{self, MatchBuilder, TargetBuilder};
use bpftables_ruleset::Target;

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
    "dscp",
    "ecn",
    "esp",
    "hashlimit",
    "helper",
    "ipcomp",
    "iprange",
    "ipvs",
    "length",
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
    "rpfilter",
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
    "LOG",
    "NFLOG",
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
    "TRACE",
    "TTL",
    "ULOG",
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
pub(crate) fn find_match(name: &str) -> Result<Option<Box<MatchBuilder>>, ParseError> {
    if name.len() > MAX_NAME {
        return Err(ParseError::Parameter(format!("Invalid match name \"{name}\" ({MAX_NAME} chars max)")));
    }
    let builder: Box<MatchBuilder> = match name {
        "addrtype" => Box::new(ext::addrtype::AddrtypeBuilder::default()),
        "comment" => Box::new(ext::comment::CommentBuilder::default()),
        "connmark" => Box::new(ext::mark::MarkMatchBuilder::connmark()),
        "conntrack" => Box::new(ext::conntrack::ConntrackBuilder::default()),
        "icmp" => Box::new(ext::icmp::IcmpBuilder::default()),
        "limit" => Box::new(ext::limit::LimitBuilder::default()),
        "mark" => Box::new(ext::mark::MarkMatchBuilder::mark()),
        "multiport" => Box::new(ext::multiport::MultiportBuilder::default()),
        "recent" => Box::new(ext::recent::RecentBuilder::default()),
        "state" => Box::new(ext::conntrack::StateBuilder::default()),
        "statistic" => Box::new(ext::statistic::StatisticBuilder::default()),
        "tcp" => Box::new(ext::tcp::TcpBuilder::default()),
        "udp" => Box::new(ext::udp::UdpBuilder::default()),
        _ if LEGACY_MATCHES.contains(&name) => return Err(no_extension(ExtensionKind::Match, name)),
        _ => return Ok(None),
    };
    Ok(Some(builder))
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
        "MARK" => FoundTarget::Extension(Box::new(ext::mark::MarkTargetBuilder::default())),
        "MASQUERADE" => FoundTarget::Extension(Box::new(ext::nat_targets::NatBuilder::masquerade())),
        "NETMAP" => FoundTarget::Extension(Box::new(ext::nat_targets::NetmapBuilder::default())),
        "NOTRACK" => FoundTarget::Extension(Box::new(ext::ct_target::NotrackBuilder)),
        "REDIRECT" => FoundTarget::Extension(Box::new(ext::nat_targets::NatBuilder::redirect())),
        "REJECT" => FoundTarget::Extension(Box::new(ext::reject::RejectBuilder::default())),
        "SNAT" => FoundTarget::Extension(Box::new(ext::nat_targets::NatBuilder::snat())),
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
