//! Matches of protocols that few packets have.

use super::matches::{invert, port_range};
use bpftables_ruleset::matches::esp::IdentifierRange;
use bpftables_ruleset::matches::sctp::{SctpChunks, SctpFlags, SctpQuantity};
use bpftables_ruleset::matches::{Ah, Dccp, Esp, Ipcomp, Match, Sctp, Tcpmss};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

/// Identifiers as generated packets have them: two ports.
fn identifiers() -> impl Strategy<Value = IdentifierRange> {
    let number = || select(&[0u32, 80, 443, 0x5_0000, 0x50_01bb, 0x1_0050, u32::MAX][..]);
    (number(), number(), invert()).prop_map(|(a, b, invert)| IdentifierRange { min: a.min(b), max: a.max(b), invert })
}

fn sctp() -> impl Strategy<Value = Match> {
    let quantity = select(&[SctpQuantity::Any, SctpQuantity::All, SctpQuantity::Only][..]);
    let types = select(&[[0u64; 4], [1, 0, 0, 0], [2, 0, 0, 0], [3, 1 << 63, 0, 0], [9, 0, 0, 0], [u64::MAX; 4]][..]);
    let flags = vec((0u8..4, any::<u8>(), 0u8..16), 0..5)
        .prop_map(|all| all.into_iter().map(|(index, set, mask)| SctpFlags { index, set: set & mask, mask }).collect());
    let chunks = (quantity, types, flags).prop_map(|(quantity, types, flags)| SctpChunks { quantity, types, flags });
    let port = || option::of((port_range(), invert()));
    (port(), port(), option::weighted(0.8, (chunks, invert())))
        .prop_map(|(sport, dport, chunks)| Match::Sctp(Box::new(Sctp { sport, dport, chunks })))
}

fn dccp() -> impl Strategy<Value = Match> {
    let port = || option::of((port_range(), invert()));
    let option = (select(&[0u8, 1, 2, 8, 10, 40][..]), invert());
    (port(), port(), option::of((any::<u16>(), invert())), option::weighted(0.6, option))
        .prop_map(|(sport, dport, types, option)| Match::Dccp(Dccp { sport, dport, types, option }))
}

/// One of them.
pub(super) fn any_match() -> impl Strategy<Value = Match> {
    let mss = select(&[0u16, 1, 536, 1459, 1460, 65535][..]);
    prop_oneof![
        2 => sctp(),
        2 => dccp(),
        1 => identifiers().prop_map(|spi| Match::Esp(Esp { spi })),
        1 => identifiers().prop_map(|spi| Match::Ah(Ah { spi })),
        1 => (identifiers(), any::<bool>()).prop_map(|(spi, reserved)| Match::Ipcomp(Ipcomp { spi, reserved })),
        2 => (mss.clone(), mss, invert()).prop_map(|(a, b, invert)| {
            Match::Tcpmss(Tcpmss { min: a.min(b), max: a.max(b), invert })
        }),
    ]
}
