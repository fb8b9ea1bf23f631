//! Which extensions there are.

use crate::error::{ExtensionKind, ParseError};
use crate::ext::{self, MatchBuilder, TargetBuilder};
use bpftables_ruleset::{Family, Target, matches};

/// The longest name of a match, target or chain, in bytes.
pub(crate) const MAX_NAME: usize = 28;

/// The families that have an extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Families {
    /// Both.
    Any,
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
}

impl Families {
    pub(crate) const fn has(self, family: Family) -> bool {
        matches!((self, family), (Self::Any, _) | (Self::V4, Family::V4) | (Self::V6, Family::V6))
    }
}

/// A match or target of the command line.
pub(crate) struct Entry<B: ?Sized> {
    pub(crate) name: &'static str,
    pub(crate) families: Families,
    new: fn(Family) -> Box<B>,
}

const fn entry<B: ?Sized>(name: &'static str, families: Families, new: fn(Family) -> Box<B>) -> Entry<B> {
    Entry { name, families, new }
}

/// The table of matches, sorted by name; what has one name in both families but is read otherwise stands twice, IPv4's first.
pub(crate) const MATCHES: &[Entry<MatchBuilder>] = &[
    entry("addrtype", Families::Any, |_| Box::new(ext::addrtype::AddrtypeBuilder::default())),
    entry("ah", Families::V4, |_| Box::new(matches::Ah::default())),
    entry("ah", Families::V6, |_| Box::new(matches::Ah6::default())),
    entry("bpf", Families::Any, |_| Box::new(ext::bpf::BpfBuilder::default())),
    entry("cgroup", Families::Any, |_| Box::new(matches::Cgroup::default())),
    entry("cluster", Families::Any, |_| Box::new(matches::Cluster::default())),
    entry("comment", Families::Any, |_| Box::new(ext::comment::CommentBuilder::default())),
    entry("connbytes", Families::Any, |_| Box::new(ext::connbytes::ConnbytesBuilder::default())),
    entry("connlabel", Families::Any, |_| Box::new(matches::Connlabel::default())),
    entry("connlimit", Families::Any, |family| Box::new(ext::connlimit::ConnlimitBuilder::new(family))),
    entry("connmark", Families::Any, |_| Box::new(ext::mark::MarkMatchBuilder::connmark())),
    entry("conntrack", Families::Any, |_| Box::new(ext::conntrack::ConntrackBuilder::default())),
    entry("cpu", Families::Any, |_| Box::new(matches::Cpu::default())),
    entry("dccp", Families::Any, |_| Box::new(matches::Dccp::default())),
    entry("devgroup", Families::Any, |_| Box::new(matches::Devgroup::default())),
    entry("dscp", Families::Any, |_| Box::new(matches::Dscp::default())),
    entry("dst", Families::V6, |_| Box::new(matches::Dst::default())),
    entry("ecn", Families::Any, |_| Box::new(matches::Ecn::default())),
    entry("esp", Families::Any, |_| Box::new(matches::Esp::default())),
    entry("eui64", Families::V6, |_| Box::new(matches::Eui64)),
    entry("frag", Families::V6, |_| Box::new(matches::Frag::default())),
    entry("hashlimit", Families::Any, |family| Box::new(ext::hashlimit::HashlimitBuilder::new(family))),
    entry("hbh", Families::V6, |_| Box::new(matches::Hbh::default())),
    entry("helper", Families::Any, |_| Box::new(matches::Helper::default())),
    entry("hl", Families::V6, |_| Box::new(matches::Hl::default())),
    entry("icmp", Families::V4, |_| Box::new(ext::icmp::IcmpBuilder::default())),
    entry("icmp6", Families::V6, |_| Box::new(ext::icmp::Icmp6Builder::default())),
    entry("ipcomp", Families::Any, |_| Box::new(matches::Ipcomp::default())),
    entry("iprange", Families::Any, |_| Box::new(matches::Iprange::default())),
    entry("ipv6header", Families::V6, |_| Box::new(matches::Ipv6header::default())),
    entry("ipvs", Families::Any, |_| Box::new(matches::Ipvs::default())),
    entry("length", Families::Any, |_| Box::new(matches::Length::default())),
    entry("limit", Families::Any, |_| Box::new(ext::limit::LimitBuilder::default())),
    entry("mac", Families::Any, |_| Box::new(matches::Mac::default())),
    entry("mark", Families::Any, |_| Box::new(ext::mark::MarkMatchBuilder::mark())),
    entry("mh", Families::V6, |_| Box::new(matches::Mh::default())),
    entry("multiport", Families::Any, |_| Box::new(ext::multiport::MultiportBuilder::default())),
    entry("nfacct", Families::Any, |_| Box::new(matches::Nfacct::default())),
    entry("osf", Families::V4, |_| Box::new(matches::Osf::default())),
    entry("owner", Families::Any, |_| Box::new(matches::Owner::default())),
    entry("physdev", Families::Any, |_| Box::new(matches::Physdev::default())),
    entry("pkttype", Families::Any, |_| Box::new(matches::Pkttype::default())),
    entry("policy", Families::Any, |_| Box::new(ext::policy::PolicyBuilder::default())),
    entry("quota", Families::Any, |_| Box::new(matches::Quota::default())),
    entry("rateest", Families::Any, |_| Box::new(matches::Rateest::default())),
    entry("realm", Families::V4, |_| Box::new(ext::realm::RealmBuilder::default())),
    entry("recent", Families::Any, |family| Box::new(ext::recent::RecentBuilder::new(family))),
    entry("rpfilter", Families::Any, |_| Box::new(matches::Rpfilter::default())),
    entry("rt", Families::V6, |_| Box::new(matches::Rt::default())),
    entry("sctp", Families::Any, |_| Box::new(matches::Sctp::default())),
    entry("set", Families::Any, |_| Box::new(matches::Set::default())),
    entry("socket", Families::Any, |_| Box::new(matches::Socket::default())),
    entry("srh", Families::V6, |_| Box::new(matches::Srh::default())),
    entry("state", Families::Any, |_| Box::new(ext::conntrack::StateBuilder::default())),
    entry("statistic", Families::Any, |_| Box::new(ext::statistic::StatisticBuilder::default())),
    entry("string", Families::Any, |_| Box::new(matches::StringMatch::default())),
    entry("tcp", Families::Any, |_| Box::new(ext::tcp::TcpBuilder::default())),
    entry("tcpmss", Families::Any, |_| Box::new(matches::Tcpmss::default())),
    entry("time", Families::Any, |_| Box::new(matches::Time::default())),
    entry("tos", Families::Any, |_| Box::new(matches::Tos::default())),
    entry("ttl", Families::V4, |_| Box::new(matches::Ttl::default())),
    entry("u32", Families::Any, |_| Box::new(matches::U32::default())),
    entry("udp", Families::Any, |_| Box::new(ext::udp::UdpBuilder::default())),
];

/// The table of targets, sorted as [`MATCHES`].
pub(crate) const TARGETS: &[Entry<TargetBuilder>] = &[
    entry("AUDIT", Families::Any, |_| Box::new(ext::audit::AuditBuilder::default())),
    entry("CHECKSUM", Families::Any, |_| Box::new(ext::checksum::ChecksumBuilder)),
    entry("CLASSIFY", Families::Any, |_| Box::new(ext::classify::ClassifyBuilder::default())),
    entry("CLUSTERIP", Families::V4, |_| Box::new(ext::clusterip::ClusteripBuilder::default())),
    entry("CONNMARK", Families::Any, |_| Box::new(ext::mark::ConnmarkTargetBuilder::default())),
    entry("CONNSECMARK", Families::Any, |_| Box::new(ext::connsecmark::ConnsecmarkBuilder::default())),
    entry("CT", Families::Any, |_| Box::new(ext::ct_target::CtBuilder::default())),
    entry("DNAT", Families::Any, |_| Box::new(ext::nat_targets::NatBuilder::dnat())),
    entry("DNPT", Families::V6, |_| Box::new(ext::npt_targets::NptBuilder::dnpt())),
    entry("DSCP", Families::Any, |_| Box::new(ext::dscp_target::DscpBuilder::default())),
    entry("ECN", Families::V4, |_| Box::new(ext::ecn_target::EcnBuilder::default())),
    entry("HL", Families::V6, |_| Box::new(ext::hop_targets::HopBuilder::hl())),
    entry("HMARK", Families::Any, |family| Box::new(ext::hmark::HmarkBuilder::new(family))),
    entry("IDLETIMER", Families::Any, |_| Box::new(ext::idletimer::IdletimerBuilder::default())),
    entry("LED", Families::Any, |_| Box::new(ext::led::LedBuilder::default())),
    entry("LOG", Families::Any, |_| Box::new(ext::log::LogBuilder::default())),
    entry("MARK", Families::Any, |_| Box::new(ext::mark::MarkTargetBuilder::default())),
    entry("MASQUERADE", Families::Any, |_| Box::new(ext::nat_targets::NatBuilder::masquerade())),
    entry("NETMAP", Families::Any, |family| Box::new(ext::nat_targets::NetmapBuilder::new(family))),
    entry("NFLOG", Families::Any, |_| Box::new(ext::nflog::NflogBuilder::default())),
    entry("NFQUEUE", Families::Any, |_| Box::new(ext::nfqueue::NfqueueBuilder::default())),
    entry("NOTRACK", Families::Any, |_| Box::new(ext::ct_target::NotrackBuilder)),
    entry("QUEUE", Families::Any, |_| Box::new(ext::queue::QueueBuilder)),
    entry("RATEEST", Families::Any, |_| Box::new(ext::rateest::RateestBuilder::default())),
    entry("REDIRECT", Families::Any, |_| Box::new(ext::nat_targets::NatBuilder::redirect())),
    entry("REJECT", Families::V4, |_| Box::new(ext::reject::RejectBuilder::v4())),
    entry("REJECT", Families::V6, |_| Box::new(ext::reject::RejectBuilder::v6())),
    entry("SECMARK", Families::Any, |_| Box::new(ext::secmark::SecmarkBuilder::default())),
    entry("SET", Families::Any, |_| Box::new(ext::set_target::SetBuilder::default())),
    entry("SNAT", Families::Any, |_| Box::new(ext::nat_targets::NatBuilder::snat())),
    entry("SNPT", Families::V6, |_| Box::new(ext::npt_targets::NptBuilder::snpt())),
    entry("SYNPROXY", Families::Any, |_| Box::new(ext::synproxy::SynproxyBuilder::default())),
    entry("TCPMSS", Families::Any, |family| Box::new(ext::tcpmss_target::TcpmssBuilder::new(family))),
    entry("TCPOPTSTRIP", Families::Any, |_| Box::new(ext::tcpoptstrip::TcpoptstripBuilder::default())),
    entry("TEE", Families::Any, |_| Box::new(ext::tee::TeeBuilder::default())),
    entry("TOS", Families::Any, |_| Box::new(ext::tos_target::TosBuilder::default())),
    entry("TPROXY", Families::Any, |family| Box::new(ext::tproxy::TproxyBuilder::new(family))),
    entry("TRACE", Families::Any, |_| Box::new(ext::trace::TraceBuilder)),
    entry("TTL", Families::V4, |_| Box::new(ext::hop_targets::HopBuilder::ttl())),
    entry("ULOG", Families::V4, |_| Box::new(ext::ulog::UlogBuilder::default())),
];

/// The extensions of a family: all matches, then all targets, each sorted by name.
pub fn extensions(family: Family) -> impl Iterator<Item = (ExtensionKind, &'static str)> {
    let of = move |families: Families| families.has(family);
    let matches =
        MATCHES.iter().filter(move |entry| of(entry.families)).map(|entry| (ExtensionKind::Match, entry.name));
    let targets =
        TARGETS.iter().filter(move |entry| of(entry.families)).map(|entry| (ExtensionKind::Target, entry.name));
    matches.chain(targets)
}

/// The extension of a name.
fn find<B: ?Sized>(table: &[Entry<B>], name: &str, family: Family) -> Option<Box<B>> {
    let first = table.partition_point(|entry| entry.name < name);
    let mut same = table[first..].iter().take_while(|entry| entry.name == name);
    same.find(|entry| entry.families.has(family)).map(|entry| (entry.new)(family))
}

/// What a name of a target turns out to be.
pub(crate) enum FoundTarget {
    /// A verdict.
    Verdict(Target),
    /// An extension.
    Extension(Box<TargetBuilder>),
    /// A name that legacy keeps for its own use; no chain can have it, and no rule can jump to it.
    Reserved,
    /// Nothing that legacy has: perhaps a chain.
    Unknown,
}

/// The name under which a match is known: ICMPv6's has three.
fn match_name(name: &str) -> &str {
    if matches!(name, "icmpv6" | "ipv6-icmp") { "icmp6" } else { name }
}

/// The match of a name; `None` when there is none such.
pub(crate) fn find_match(name: &str, family: Family) -> Result<Option<Box<MatchBuilder>>, ParseError> {
    if name.len() > MAX_NAME {
        return Err(ParseError::Parameter(format!("Invalid match name \"{name}\" ({MAX_NAME} chars max)")));
    }
    Ok(find(MATCHES, match_name(name), family))
}

/// The target of a name.
pub(crate) fn find_target(name: &str, family: Family) -> FoundTarget {
    match name {
        "ACCEPT" => FoundTarget::Verdict(Target::Accept),
        "DROP" => FoundTarget::Verdict(Target::Drop),
        "RETURN" => FoundTarget::Verdict(Target::Return),
        "" | "standard" => FoundTarget::Reserved,
        _ => match find(TARGETS, name, family) {
            Some(builder) => FoundTarget::Extension(builder),
            None => FoundTarget::Unknown,
        },
    }
}

/// The error for a name that is no extension.
pub(crate) fn no_extension(kind: ExtensionKind, name: &str) -> ParseError {
    let name = match kind {
        ExtensionKind::Match => match_name(name),
        ExtensionKind::Target => name,
    };
    ParseError::MissingExtension { kind, name: name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ext::Extension;

    #[test]
    fn every_extension_is_found_in_its_families_alone_and_says_its_name() {
        fn check<Out>(table: &[Entry<dyn Extension<Out = Out>>]) {
            let key = |entry: &Entry<dyn Extension<Out = Out>>| (entry.name, entry.families);
            assert!(table.is_sorted_by(|a, b| key(a) < key(b)));
            for entry in table {
                for family in Family::ALL {
                    let found = find(table, entry.name, family);
                    assert_eq!(found.is_some_and(|found| found.spec().name == entry.name), {
                        table.iter().any(|other| other.name == entry.name && other.families.has(family))
                    });
                }
            }
        }
        check(MATCHES);
        check(TARGETS);
    }

    #[test]
    fn icmpv6_goes_by_three_names_in_ipv6_and_by_none_in_ipv4() {
        for name in ["icmp6", "icmpv6", "ipv6-icmp"] {
            assert!(find_match(name, Family::V6).is_ok_and(|found| found.is_some()));
            assert!(find_match(name, Family::V4).is_ok_and(|found| found.is_none()));
        }
    }
}
