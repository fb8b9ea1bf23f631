//! Which packets may pass a device that has no programs.

use bpftables_abi::image::{FLAG_GUARD, FLAG_GUARD_LOOPBACK};
use bpftables_ruleset::addr::AddrMatch;
use bpftables_ruleset::targets::NatRange;
use bpftables_ruleset::{Rule, Target};
use std::net::IpAddr;

/// What a rule asks of the guard. One that concerns packets with an address of loopback's alone, and gives them no other, makes nothing of the rest: neither
/// do they match, nor is one of them an answer that it would have translated.
pub(crate) fn rule_flag(rule: &Rule) -> u32 {
    let concerned = |side: &Option<AddrMatch>| side.as_ref().is_some_and(of_loopback);
    let stays = match &rule.target {
        Target::None
        | Target::Accept
        | Target::Drop
        | Target::Return
        | Target::Jump(_)
        | Target::Goto(_)
        | Target::Reject(_) => true,
        Target::Dnat(to) | Target::Snat(to) => to_loopback(to),
        _ => false,
    };
    if stays && (concerned(&rule.ip.src) || concerned(&rule.ip.dst)) { FLAG_GUARD_LOOPBACK } else { FLAG_GUARD }
}

fn of_loopback(side: &AddrMatch) -> bool {
    !side.invert
        && side.addr.is_loopback()
        && match side.mask {
            IpAddr::V4(mask) => mask.octets()[0] == 0xff,
            IpAddr::V6(mask) => mask.to_bits() == u128::MAX,
        }
}

fn to_loopback(to: &NatRange) -> bool {
    to.addrs.is_none_or(|(first, last)| first.is_loopback() && last.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bpftables_ruleset::addr::PortRange;
    use bpftables_ruleset::{ChainName, IpMatch};

    fn rule(dst: &str, mask: &str, invert: bool, target: Target) -> Rule {
        let dst = AddrMatch { addr: dst.parse().unwrap(), mask: mask.parse().unwrap(), invert };
        Rule::new(IpMatch { dst: Some(dst), ..IpMatch::default() }, vec![], target)
    }

    fn range(addrs: Option<[&str; 2]>) -> NatRange {
        let addrs = addrs.map(|[first, last]| (first.parse().unwrap(), last.parse().unwrap()));
        NatRange { addrs, ports: Some(PortRange { lo: 53, hi: 53 }), ..NatRange::default() }
    }

    #[test]
    fn only_rules_of_loopback_that_stay_there_let_other_packets_by() {
        let of = |rule: Rule| rule_flag(&rule) == FLAG_GUARD_LOOPBACK;
        let host = "255.255.255.255";
        assert!(of(rule("127.0.0.11", host, false, Target::Drop)));
        assert!(of(rule("127.0.0.0", "255.0.0.0", false, Target::Jump(ChainName("A".into())))));
        assert!(of(rule("::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", false, Target::Accept)));
        assert!(of(rule("127.0.0.11", host, false, Target::Dnat(range(Some(["127.0.0.11", "127.0.0.12"]))))));
        assert!(of(rule("127.0.0.11", host, false, Target::Snat(range(None)))));

        assert!(!of(Rule::new(IpMatch::default(), vec![], Target::Accept)));
        assert!(!of(rule("127.0.0.11", host, true, Target::Accept)));
        assert!(!of(rule("126.0.0.0", "254.0.0.0", false, Target::Accept)));
        assert!(!of(rule("127.0.0.1", "0.0.0.255", false, Target::Accept)));
        assert!(!of(rule("10.0.0.1", host, false, Target::Accept)));
        assert!(!of(rule("::1", "ffff:ffff:ffff:ffff::", false, Target::Accept)));
        assert!(!of(rule("127.0.0.11", host, false, Target::Dnat(range(Some(["127.0.0.11", "128.0.0.1"]))))));
        assert!(!of(rule("127.0.0.11", host, false, Target::Notrack)));
    }
}
