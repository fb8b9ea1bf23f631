//! Rules, chains, rulesets.

use super::Profile;
use super::matches::{addr_match, any_match, invert};
use super::pools::{DEVICES, addr, mark, port};
use bpftables_ruleset::matches::{Match, Tcp, Udp};
use bpftables_ruleset::targets::ct::Zone;
use bpftables_ruleset::targets::nflog::{Nflog, NflogLength};
use bpftables_ruleset::targets::{
    Checksum, ConnmarkSet, CtSet, DscpSet, EcnSet, HopChange, Log, MarkSet, Masquerade, NatRange, Netmap, Redirect,
    RejectWith, Tcpoptstrip, TosSet, Trace, TtlSet,
};
use bpftables_ruleset::{
    AddrMatch, Chain, Family, IfacePattern, IpMatch, Policy, PortRange, Rule, Ruleset, Slot, TableKind, Target,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use std::net::{IpAddr, Ipv4Addr};

fn iface() -> impl Strategy<Value = IfacePattern> {
    let name = select(&DEVICES[..]).prop_flat_map(|name| (Just(name), 0..=name.len(), any::<bool>()));
    (name, invert()).prop_map(|((name, cut, wildcard), invert)| {
        let name = if wildcard { &name[..cut] } else { name };
        IfacePattern { name: name.into(), wildcard, invert }
    })
}

fn ip() -> impl Strategy<Value = IpMatch> {
    (
        option::weighted(0.4, addr_match()),
        option::weighted(0.4, addr_match()),
        option::weighted(0.15, iface()),
        option::weighted(0.15, iface()),
        option::weighted(0.3, (select(&[1u8, 6, 17, 47, 132, 33, 50, 51, 108][..]), invert())),
        option::weighted(0.05, any::<bool>()),
    )
        .prop_map(|(src, dst, iif, oif, proto, fragment)| IpMatch { src, dst, iif, oif, proto, fragment })
}

/// Protocols under which a match may stand; none: any.
fn protocols(m: &Match) -> &'static [u8] {
    match m {
        Match::Tcp(_) => &[6],
        Match::Udp(_) => &[17],
        Match::Icmp(_) => &[1],
        Match::Multiport(_) => &[6, 17, 33, 132, 136],
        Match::Sctp(_) => &[132],
        Match::Dccp(_) => &[33],
        Match::Esp(_) => &[50],
        Match::Ah(_) => &[51],
        Match::Ipcomp(_) => &[108],
        Match::Tcpmss(_) => &[6],
        _ => &[],
    }
}

/// Where a rule goes: jumps are drawn as numbers and resolved when the chains are known.
#[derive(Clone, Debug)]
enum Draft {
    Done(Target),
    Chain(u8, bool),
}

fn target(profile: Profile) -> BoxedStrategy<Draft> {
    let mut choices: Vec<(u32, BoxedStrategy<Target>)> = vec![
        (4, Just(Target::None).boxed()),
        (2, Just(Target::Accept).boxed()),
        (2, Just(Target::Return).boxed()),
        (2, (mark(), mark()).prop_map(|(value, mask)| Target::Mark(MarkSet { value, mask })).boxed()),
        (
            1,
            (any::<u16>(), option::of(0u32..3000), "[a-z]{0,63}")
                .prop_map(|(group, size, text)| nflog(group, size, &text))
                .boxed(),
        ),
        (1, (0u8..8, 0u8..0x40, "[a-z]{0,29}").prop_map(|(level, flags, prefix)| log(level, flags, &prefix)).boxed()),
    ];
    choices.push((1, super::hmark::target(profile.conntrack).boxed()));
    if profile.table != TableKind::Nat {
        choices.push((2, Just(Target::Drop).boxed()));
    }
    if profile.conntrack {
        let set = (mark(), mark(), mark(), prop_oneof![2 => 0u8..3, 1 => 3u8..31]).prop_map(
            |(value, nfmask, ctmask, mode)| {
                let set = match mode % 3 {
                    0 => ConnmarkSet::Set { value, mask: ctmask },
                    1 => ConnmarkSet::Save { nfmask, ctmask },
                    _ => ConnmarkSet::Restore { nfmask, ctmask },
                };
                let shifted = |set| ConnmarkSet::Shifted { set: Box::new(set), left: mode & 8 == 0, bits: mode + 1 };
                Target::Connmark(if mode < 3 { set } else { shifted(set) })
            },
        );
        choices.push((1, set.boxed()));
    }
    match profile.table {
        // A zone makes packets tracked.
        TableKind::Raw if profile.conntrack => {
            choices.push((1, select(vec![Target::Notrack, notrack(), zone(), Target::Trace(Trace)]).boxed()));
        }
        TableKind::Raw => choices.push((1, select(vec![Target::Notrack, notrack(), Target::Trace(Trace)]).boxed())),
        TableKind::Nat => choices.push((2, nat().boxed())),
        TableKind::Filter => choices.push((1, Just(Target::Reject(RejectWith::PortUnreachable)).boxed())),
        TableKind::Mangle => choices.push((3, header().boxed())),
        TableKind::Security => {}
    }
    let done = proptest::strategy::Union::new_weighted(choices).prop_map(Draft::Done);
    let jump = (any::<u8>(), prop::bool::weighted(0.25)).prop_map(|(n, goto)| Draft::Chain(n, goto));
    prop_oneof![5 => done, 2 => jump].boxed()
}

/// Targets that write into headers, but for TCPMSS, which makes packets longer.
fn header() -> impl Strategy<Value = Target> {
    let hop = (0u8..3, any::<u8>()).prop_map(|(how, value)| match how {
        0 => HopChange::Set(value),
        1 => HopChange::Increment(value),
        _ => HopChange::Decrement(value),
    });
    let bit = || option::of(any::<bool>());
    prop_oneof![
        (any::<u8>(), any::<u8>()).prop_map(|(value, mask)| Target::Tos(TosSet { value, mask })),
        (0u8..64).prop_map(|dscp| Target::Dscp(DscpSet { dscp })),
        hop.prop_map(|change| Target::Ttl(TtlSet(change))),
        (bit(), bit(), option::of(0u8..4)).prop_map(|(ece, cwr, ect)| Target::Ecn(EcnSet { ece, cwr, ect })),
        any::<[u32; 8]>().prop_map(|kinds| Target::Tcpoptstrip(Tcpoptstrip { kinds })),
        Just(Target::Checksum(Checksum)),
    ]
}

fn nat() -> impl Strategy<Value = Target> {
    let ports = || option::of((port(), port()).prop_map(|(a, b)| PortRange { lo: a.min(b), hi: a.max(b) }));
    let range = || {
        (option::of((addr(), addr())), ports(), option::weighted(0.1, port()), any::<bool>(), any::<bool>()).prop_map(
            |(addrs, ports, base_port, random, persistent)| NatRange {
                addrs: addrs.map(|(a, b)| (IpAddr::V4(a.min(b)), IpAddr::V4(a.max(b)))),
                ports,
                base_port,
                random,
                random_fully: false,
                persistent,
            },
        )
    };
    let mask = Ipv4Addr::new(255, 255, 255, 0);
    prop_oneof![
        range().prop_map(Target::Dnat),
        range().prop_map(Target::Snat),
        (ports(), any::<bool>(), any::<bool>()).prop_map(|(ports, shifted, random_fully)| {
            let shifted = shifted && ports.is_some();
            Target::Masquerade(Masquerade { ports, shifted, random: false, random_fully })
        }),
        (ports(), any::<bool>()).prop_map(|(ports, random)| Target::Redirect(Redirect { ports, random })),
        addr().prop_map(move |a| {
            let addr = Ipv4Addr::from_bits(a.to_bits() & mask.to_bits());
            Target::Netmap(Netmap { addr: addr.into(), mask: mask.into() })
        }),
    ]
}

fn nflog(group: u16, size: Option<u32>, prefix: &str) -> Target {
    let length = size.map_or(NflogLength::Unset, NflogLength::Size);
    Target::Nflog(Nflog { group, prefix: prefix.into(), length, threshold: Nflog::DEFAULT_THRESHOLD })
}

fn log(level: u8, flags: u8, prefix: &str) -> Target {
    Target::Log(Log { level, flags, prefix: prefix.into() })
}

fn rule(profile: Profile) -> impl Strategy<Value = (IpMatch, Vec<Match>, Draft)> {
    (ip(), vec(any_match(profile), 0..4), target(profile), any::<u8>()).prop_map(
        |(mut ip, mut matches, target, pick)| {
            // The first L4 match decides the protocol; others that do not fit it go.
            if let Some(allowed) = matches.iter().map(protocols).find(|p| !p.is_empty()) {
                let proto = allowed[usize::from(pick) % allowed.len()];
                ip.proto = Some((proto, false));
                matches.retain(|m| protocols(m).is_empty() || protocols(m).contains(&proto));
            }
            (ip, matches, target)
        },
    )
}

type DraftChain = Vec<(IpMatch, Vec<Match>, Draft)>;

/// Gives rules their targets and slots. Chain n may go to chains behind it only, so there are no loops.
fn assemble(table: TableKind, bases: Vec<DraftChain>, user: Vec<DraftChain>, drop: bool) -> Ruleset {
    let mut slot = 0;
    let mut next = || {
        slot += 1;
        Slot(slot)
    };
    let count = user.len();
    let mut finish = |chain: DraftChain, first: usize| -> Vec<Rule> {
        chain
            .into_iter()
            .map(|(ip, matches, draft)| {
                let target = match draft {
                    Draft::Done(target) => target,
                    Draft::Chain(_, _) if first >= count => Target::None,
                    Draft::Chain(n, goto) => {
                        let name = format!("C{}", first + usize::from(n) % (count - first)).as_str().into();
                        if goto { Target::Goto(name) } else { Target::Jump(name) }
                    }
                };
                Rule { slot: next(), ..Rule::new(ip, matches, target) }
            })
            .collect()
    };
    let mut ruleset = Ruleset::new(Family::V4);
    let of = ruleset.table_mut(table);
    for (chain, rules) in of.builtin.iter_mut().zip(bases) {
        chain.rules = finish(rules, 0);
        if drop && table != TableKind::Nat {
            chain.policy = Some(Policy::Drop);
        }
    }
    for (index, rules) in user.into_iter().enumerate() {
        let name = format!("C{index}");
        let chain = Chain { rules: finish(rules, index + 1), ..Chain::new(name.as_str().into(), None) };
        of.user.insert(chain.name.clone(), chain);
    }
    for chain in &mut of.builtin {
        chain.slot = next();
    }
    ruleset
}

/// A chain as KUBE-SERVICES: address, protocol and port in most rules, a few others between them.
fn services(profile: Profile) -> impl Strategy<Value = DraftChain> {
    let service = (addr(), select(&[6u8, 17][..]), port(), target(profile)).prop_map(|(dst, proto, dport, target)| {
        let dst = AddrMatch { addr: dst.into(), mask: Ipv4Addr::BROADCAST.into(), invert: false };
        let ports = PortRange { lo: dport, hi: dport };
        let m = if proto == 6 {
            Match::Tcp(Tcp { dport: ports, ..Tcp::default() })
        } else {
            Match::Udp(Udp { dport: ports, ..Udp::default() })
        };
        (IpMatch { dst: Some(dst), proto: Some((proto, false)), ..IpMatch::default() }, vec![m], target)
    });
    vec(prop_oneof![8 => service, 1 => rule(profile)], 10..60)
}

/// A ruleset with rules in one table: short and long chains, up to eight user chains deep.
pub fn ruleset(profile: Profile) -> impl Strategy<Value = Ruleset> {
    let bases = vec(vec(rule(profile), 0..14), profile.table.hooks().len());
    let chain = prop_oneof![3 => vec(rule(profile), 0..6), 2 => vec(rule(profile), 9..30), 2 => services(profile)];
    let user = vec(chain, 0..=8);
    (bases, user, any::<bool>()).prop_map(move |(bases, user, drop)| assemble(profile.table, bases, user, drop))
}

/// A ruleset whose first base chain has very many rules: many blocks. Rules come from a few drafts, repeated with other addresses and ports.
pub fn many_rules(profile: Profile, count: usize) -> impl Strategy<Value = Ruleset> {
    (vec(rule(profile), 40), any::<u64>()).prop_map(move |(drafts, seed)| {
        let mut x = seed | 1;
        let mut chain = Vec::with_capacity(count);
        for index in 0..count {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (mut ip, matches, target) = drafts[(x >> 40) as usize % drafts.len()].clone();
            // Most of them end here or nowhere: a packet should get far.
            let target = if index % 97 == 0 { target } else { Draft::Done(Target::None) };
            if let Some(src) = ip.src.as_mut().filter(|m| m.mask == IpAddr::V4(Ipv4Addr::BROADCAST))
                && index % 5 != 0
            {
                src.addr = Ipv4Addr::from_bits((x >> 20) as u32).into();
            }
            chain.push((ip, matches, target));
        }
        assemble(profile.table, vec![chain], vec![], false)
    })
}

/// `-j CT --zone-orig 7`.
fn zone() -> Target {
    let zone = Zone { id: 7, original: true, ..Zone::default() };
    Target::Ct(Box::new(CtSet { zone, ..CtSet::default() }))
}

/// `-j CT --notrack`.
fn notrack() -> Target {
    Target::Ct(Box::new(CtSet { notrack: true, ..CtSet::default() }))
}
