//! Matches.

use super::Profile;
use super::pools::{addr, mark, port};
use bpftables_ruleset::matches::u32_test::{U32Operator, U32Test};
use bpftables_ruleset::matches::{
    Addrtype, Cluster, Comment, Connbytes, ConnbytesDirection, ConnbytesMode, Connlabel, Connlimit, Connmark,
    Conntrack, Cpu, CtStates, CtStatus, Dscp, Ecn, Hashlimit, Helper, HopComparison, Icmp, Iprange, Length, Limit,
    Mark, Match, Multiport, MultiportEntry, MultiportSide, Quota, Recent, RecentOp, State, Statistic, StatisticMode,
    Tcp, Time, Tos, Ttl, U32, Udp, time,
};
use bpftables_ruleset::{AddrMatch, PortRange, TableKind};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use std::net::{IpAddr, Ipv4Addr};

pub(super) fn invert() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.25)
}

pub(super) fn addr_match() -> impl Strategy<Value = AddrMatch> {
    let mask = prop_oneof![
        4 => Just(32u8).prop_map(mask_of),
        4 => (0u8..=32).prop_map(mask_of),
        1 => select(&[0xff00_00ffu32, 0x0000_00ff, 0xffff_fffe][..]),
    ];
    (addr(), mask, invert()).prop_map(|(addr, mask, invert)| AddrMatch {
        addr: IpAddr::V4(Ipv4Addr::from_bits(addr.to_bits() & mask)),
        mask: IpAddr::V4(Ipv4Addr::from_bits(mask)),
        invert,
    })
}

fn mask_of(len: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0)
}

pub(super) fn port_range() -> impl Strategy<Value = PortRange> {
    prop_oneof![
        3 => Just(PortRange::ANY),
        4 => port().prop_map(|p| PortRange { lo: p, hi: p }),
        2 => (port(), port()).prop_map(|(a, b)| PortRange { lo: a.min(b), hi: a.max(b) }),
    ]
}

/// `--tcp-flags`: mask, compare, `!`.
fn tcp_flags() -> impl Strategy<Value = (u8, u8, bool)> {
    prop_oneof![
        3 => Just((0, 0, false)),
        2 => invert().prop_map(|i| (0x17, 0x02, i)),
        1 => (0u8..64, any::<u8>(), invert()).prop_map(|(m, c, i)| (m, c & m, i)),
    ]
}

fn tcp() -> impl Strategy<Value = Match> {
    let option = prop_oneof![6 => Just((0u8, false)), 1 => (select(&[1u8, 2, 4, 8, 30][..]), invert())];
    (port_range(), invert(), port_range(), invert(), tcp_flags(), option).prop_map(
        |(sport, invert_sport, dport, invert_dport, (flags_mask, flags_cmp, invert_flags), option)| {
            Match::Tcp(Tcp {
                sport,
                invert_sport,
                dport,
                invert_dport,
                flags_mask,
                flags_cmp,
                invert_flags,
                option: option.0,
                invert_option: option.1,
            })
        },
    )
}

fn udp() -> impl Strategy<Value = Match> {
    (port_range(), invert(), port_range(), invert()).prop_map(|(sport, invert_sport, dport, invert_dport)| {
        Match::Udp(Udp { sport, invert_sport, dport, invert_dport })
    })
}

fn icmp() -> impl Strategy<Value = Match> {
    let kind = select(&[0u8, 3, 8, 11, 255][..]);
    let codes = prop_oneof![Just((0u8, 255u8)), Just((0, 0)), Just((1, 4))];
    (kind, codes, invert())
        .prop_map(|(kind, (code_lo, code_hi), invert)| Match::Icmp(Icmp { kind, code_lo, code_hi, invert }))
}

fn multiport() -> impl Strategy<Value = Match> {
    let entry = (port(), port(), any::<bool>()).prop_map(|(a, b, is_range)| {
        let hi = if is_range { a.max(b) } else { a };
        MultiportEntry { range: PortRange { lo: a.min(hi), hi }, is_range }
    });
    let side = select(&[MultiportSide::Source, MultiportSide::Destination, MultiportSide::Either][..]);
    (side, vec(entry, 1..6), invert())
        .prop_map(|(side, ports, invert)| Match::Multiport(Multiport { side, ports, invert }))
}

fn conntrack() -> impl Strategy<Value = Match> {
    let states = option::weighted(0.8, (1u16..128, invert())).prop_map(|s| s.map(|(s, i)| (CtStates(s), i)));
    let more = (
        option::weighted(0.2, (select(&[6u8, 17][..]), invert())),
        option::weighted(0.2, addr_match()),
        option::weighted(0.1, addr_match()),
        option::weighted(0.1, addr_match()),
        option::weighted(0.2, addr_match()),
        option::weighted(0.2, (port_range(), invert())),
        option::weighted(0.2, (port_range(), invert())),
        option::weighted(0.2, (0u8..16, invert())),
        option::weighted(0.1, any::<bool>()),
    );
    (states, more).prop_map(|(state, (proto, orig_src, orig_dst, repl_src, repl_dst, sport, dport, status, dir))| {
        Match::Conntrack(Box::new(Conntrack {
            state,
            proto,
            orig_src,
            orig_dst,
            repl_src,
            repl_dst,
            orig_src_port: sport,
            orig_dst_port: None,
            repl_src_port: None,
            repl_dst_port: dport,
            status: status.map(|(s, i)| (CtStatus(s), i)),
            expires: None,
            direction_original: dir,
        }))
    })
}

fn recent() -> impl Strategy<Value = Match> {
    let op = select(&[RecentOp::Set, RecentOp::Check, RecentOp::Update, RecentOp::Remove][..]);
    let mask = select(vec![Ipv4Addr::BROADCAST, Ipv4Addr::new(255, 255, 255, 0)]);
    (op, invert(), select(&["DEFAULT", "other"][..]), any::<bool>(), mask, 0u32..3, 0u32..3, any::<bool>()).prop_map(
        |(op, invert, name, dest, mask, seconds, hitcount, ttl)| {
            let asks = matches!(op, RecentOp::Check | RecentOp::Update);
            Match::Recent(Box::new(Recent {
                op,
                invert,
                name: name.into(),
                dest,
                mask: mask.into(),
                seconds: if asks { seconds } else { 0 },
                reap: false,
                hitcount: if asks { hitcount } else { 0 },
                ttl: asks && ttl,
            }))
        },
    )
}

fn statistic(chance: bool) -> impl Strategy<Value = Match> {
    let probability = if chance { vec![0u32, 0x4000_0000, 0x8000_0000] } else { vec![0, 0x8000_0000] };
    (select(probability), invert()).prop_map(|(probability, invert)| {
        Match::Statistic(Statistic { mode: StatisticMode::Random { probability }, invert })
    })
}

fn nth() -> impl Strategy<Value = Match> {
    (0u32..4, 0u32..4, invert()).prop_map(|(a, b, invert)| {
        Match::Statistic(Statistic { mode: StatisticMode::Nth { every: a.max(b), packet: a.min(b) }, invert })
    })
}

fn addrtype() -> impl Strategy<Value = Match> {
    let types = || select(&[0u16, 1 << 1, 1 << 2, 1 << 3, 1 << 2 | 1 << 3][..]);
    (types(), invert(), types(), invert()).prop_map(|(src, invert_src, dst, invert_dst)| {
        let dst = if src == 0 && dst == 0 { 1 << 2 } else { dst };
        Match::Addrtype(Addrtype { src, invert_src, dst, invert_dst, limit_in: false, limit_out: false })
    })
}

fn marks() -> impl Strategy<Value = Match> {
    (mark(), mark(), invert()).prop_map(|(v, mask, invert)| Match::Mark(Mark { value: v & mask, mask, invert }))
}

/// Matches of the network header.
fn header() -> impl Strategy<Value = Match> {
    let comparison =
        select(&[HopComparison::Equal, HopComparison::NotEqual, HopComparison::Less, HopComparison::Greater][..]);
    let range = || option::weighted(0.6, (addr(), addr(), invert()));
    let ecn = (option::of(any::<bool>()), option::of(any::<bool>()), option::of((0u8..4, any::<bool>())));
    prop_oneof![
        (20u16..120, 0u16..100, invert())
            .prop_map(|(min, more, invert)| { Match::Length(Length { min, max: min + more, invert }) }),
        (comparison, 60u8..68).prop_map(|(comparison, value)| Match::Ttl(Ttl { comparison, value })),
        (any::<u8>(), any::<u8>(), invert()).prop_map(|(value, mask, invert)| Match::Tos(Tos {
            value: value & mask,
            mask,
            invert
        })),
        (0u8..64, invert()).prop_map(|(dscp, invert)| Match::Dscp(Dscp { dscp, invert })),
        ecn.prop_map(|(ece, cwr, ect)| Match::Ecn(Ecn { ece, cwr, ect })),
        (range(), range()).prop_map(|(source, destination)| {
            let order = |range: Option<(Ipv4Addr, Ipv4Addr, bool)>| {
                range.map(|(a, b, invert)| (IpAddr::V4(a.min(b)), IpAddr::V4(a.max(b)), invert))
            };
            Match::Iprange(Box::new(Iprange { source: order(source), destination: order(destination) }))
        }),
    ]
}

fn u32_test() -> impl Strategy<Value = U32Test> {
    let number = || select(&[0u32, 1, 2, 4, 8, 16, 20, 24, 31][..]);
    let mask = select(&[0xffu32, 0x3c, 0xffff, 0xff_0000, u32::MAX][..]);
    let step = prop_oneof![
        2 => mask.prop_map(|mask| (U32Operator::And, mask)),
        1 => number().prop_map(|bits| (U32Operator::Left, bits)),
        2 => number().prop_map(|bits| (U32Operator::Right, bits)),
        1 => prop_oneof![number(), Just(u32::MAX)].prop_map(|at| (U32Operator::At, at)),
    ];
    // The header's length as an offset, which random steps hardly find.
    let header = Just(vec![(U32Operator::Right, 22), (U32Operator::And, 0x3c), (U32Operator::At, 0)]);
    let steps = prop_oneof![vec(step, 0..5), header];
    let range = prop_oneof![
        (any::<u32>(), any::<u32>()).prop_map(|(a, b)| (a.min(b), a.max(b))),
        select(&[(0u32, 0u32), (0, 0xff), (6, 17), (1, u32::MAX), (0, u32::MAX)][..]),
    ];
    let start = prop_oneof![6 => 0u32..48, 1 => select(&[100u32, 1500, u32::MAX - 2][..])];
    (start, steps, vec(range, 1..4)).prop_map(|(start, steps, values)| U32Test { start, steps, values })
}

/// Days of the present and not; times of the day by quarters, so that hardly a packet meets the change.
fn time() -> impl Strategy<Value = Match> {
    let quarter = || (0u32..5).prop_map(|n| (n * 21_600).min(time::LAST_SECOND));
    let date = || select(&[0u32, 1_000_000_000, 1_700_000_000, time::NO_DATE_STOP][..]);
    let days =
        (prop_oneof![Just(time::ALL_MONTH_DAYS), any::<u32>()], prop_oneof![Just(time::ALL_WEEK_DAYS), any::<u8>()]);
    (date(), date(), quarter(), quarter(), days, any::<bool>()).prop_map(
        |(a, b, day_start, day_stop, days, contiguous)| {
            Match::Time(Box::new(Time {
                date_start: a.min(b),
                date_stop: a.max(b),
                day_start,
                day_stop,
                month_days: days.0 & time::ALL_MONTH_DAYS,
                week_days: days.1 & time::ALL_WEEK_DAYS,
                kernel_zone: false,
                contiguous: contiguous && day_start >= day_stop,
            }))
        },
    )
}

/// A CPU that no machine has: which one takes a packet is not known here.
fn cpu() -> impl Strategy<Value = Match> {
    invert().prop_map(|invert| Match::Cpu(Cpu { cpu: 1 << 20, invert }))
}

/// A table's name says what it is like, so that it does not matter which rule makes it.
fn hashlimit() -> impl Strategy<Value = Match> {
    (0u8..16, 0u8..4, any::<bool>()).prop_map(|(mode, kind, above)| {
        let (bytes, rate_match) = (kind & 1 != 0, kind & 2 != 0);
        let cost = if bytes { u64::from(u32::MAX / (4000 / 16 + 1)) } else { 1_000_000 };
        Match::Hashlimit(Box::new(Hashlimit {
            above,
            bytes,
            mode,
            cost,
            burst: 2,
            name: format!("{mode}-{kind}").into(),
            size: 0,
            max: 0,
            gc_interval: 1000,
            expire: 2000,
            source_mask: 24,
            destination_mask: 31,
            width: 32,
            rate_match,
            interval: if rate_match { 1 } else { 0 },
        }))
    })
}

/// What a connection carries.
fn connection() -> impl Strategy<Value = Match> {
    let mode = select(&[ConnbytesMode::Packets, ConnbytesMode::Bytes, ConnbytesMode::AveragePacket][..]);
    let direction = select(&[ConnbytesDirection::Original, ConnbytesDirection::Reply, ConnbytesDirection::Both][..]);
    let bound = || select(&[0u64, 1, 3, 100, 200, 600, u64::MAX][..]);
    let connbytes = (bound(), bound(), mode, direction)
        .prop_map(|(from, to, mode, direction)| Match::Connbytes(Connbytes { from, to, mode, direction }));
    let connlabel = (select(&[0u16, 1, 5, 127][..]), invert(), any::<bool>())
        .prop_map(|(bit, invert, set)| Match::Connlabel(Connlabel { bit, name: None, invert, set }));
    let helper = invert().prop_map(|invert| Match::Helper(Helper { name: "ftp".into(), invert }));
    prop_oneof![3 => connbytes, 3 => connlabel, 1 => helper]
}

/// One match.
pub(super) fn any_match(profile: Profile) -> BoxedStrategy<Match> {
    let mut choices: Vec<(u32, BoxedStrategy<Match>)> = vec![
        (6, tcp().boxed()),
        (4, udp().boxed()),
        (2, icmp().boxed()),
        (3, multiport().boxed()),
        (1, Just(Match::Comment(Comment { text: "a comment".into() })).boxed()),
        (2, marks().boxed()),
        (1, addrtype().boxed()),
        (3, header().boxed()),
        (3, super::transport::any_match().boxed()),
        (2, super::search::any_match().boxed()),
        (2, (vec(u32_test(), 1..4), invert()).prop_map(|(tests, invert)| Match::U32(U32 { tests, invert })).boxed()),
        (1, time().boxed()),
        (1, cpu().boxed()),
        (1, statistic(profile.chance).boxed()),
    ];
    if profile.memory {
        let limit = (1u32..4, 1u32..4).prop_map(|(a, burst)| Match::Limit(Limit { average: a * 10_000, burst }));
        let quota = (select(&[0u64, 60, 100, 500, 1 << 32][..]), invert())
            .prop_map(|(bytes, invert)| Match::Quota(Quota { bytes, invert }));
        choices.extend([(1, nth().boxed()), (1, limit.boxed()), (1, recent().boxed()), (1, quota.boxed())]);
        choices.push((1, hashlimit().boxed()));
        let mask = select(vec![Ipv4Addr::BROADCAST, Ipv4Addr::new(255, 255, 0, 0)]);
        let connlimit = (0u32..3, invert(), mask, any::<bool>()).prop_map(|(limit, upto, mask, destination)| {
            Match::Connlimit(Connlimit { limit, upto, mask: mask.into(), destination })
        });
        // Refused in raw, where a packet's connection is not known yet.
        if profile.table != TableKind::Raw {
            choices.push((1, connlimit.boxed()));
        }
    }
    if profile.conntrack {
        let state = (1u16..32, invert()).prop_map(|(s, invert)| Match::State(State { states: CtStates(s), invert }));
        let connmark = (mark(), mark(), invert())
            .prop_map(|(v, mask, invert)| Match::Connmark(Connmark { value: v & mask, mask, invert }));
        let cluster = (1u32..=32, any::<u32>(), any::<u32>(), invert()).prop_map(|(total, mask, seed, invert)| {
            let mask = mask & (u32::MAX >> (32 - total));
            Match::Cluster(Cluster { total, mask, seed, invert })
        });
        choices.extend([(3, state.boxed()), (3, conntrack().boxed()), (1, connmark.boxed()), (1, cluster.boxed())]);
        choices.push((1, connection().boxed()));
    }
    proptest::strategy::Union::new_weighted(choices).boxed()
}
