//! Matches that read through a packet.

use super::matches::invert;
use bpftables_ruleset::matches::bpf::{BpfInstruction, BpfProgram};
use bpftables_ruleset::matches::{Bpf, Match, StringMatch};
use proptest::prelude::*;
use proptest::sample::select;

fn string() -> impl Strategy<Value = Match> {
    let patterns: [&[u8]; 8] =
        [b"Z", b"ZZ", b"zzzzzzzz", b"ZZZZZZZZZ", &[0, 80], &[0, 0, 80], &[80, 0, 0], &[1, 1, 1, 0]];
    let places = select(&[0u16, 20, 24, 40, 48, 56, 57, 64, u16::MAX][..]);
    (select(patterns.to_vec()), places.clone(), places, any::<bool>(), invert()).prop_map(
        |(pattern, a, b, ignore_case, invert)| {
            let (from, to) = (a.min(b), a.max(b));
            let (pattern, algorithm) = (pattern.into(), "kmp".into());
            Match::String(Box::new(StringMatch { pattern, algorithm, from, to, ignore_case, invert }))
        },
    )
}

/// Three steps that may compute, then a test.
fn bpf() -> impl Strategy<Value = Match> {
    let small = || select(&[0u32, 1, 2, 6, 8, 9, 12, 16, 20, 40, 0xff, 0xfff0_0009][..]);
    let step = (
        select(
            &[0x20u16, 0x28, 0x30, 0x40, 0x48, 0x50, 0x80, 0x00, 0x01, 0x81, 0xb1, 0x04, 0x0c, 0x14, 0x1c, 0x24, 0x3c]
                [..],
        ),
        small(),
    );
    let other =
        (select(&[0x44u16, 0x4c, 0x54, 0x5c, 0x6c, 0x7c, 0x84, 0x9c, 0xa4, 0xac, 0x07, 0x87, 0x02, 0x03][..]), 0u32..9);
    let jump = (select(&[0x15u16, 0x1d, 0x25, 0x2d, 0x35, 0x3d, 0x45, 0x4d][..]), 0u8..2, 0u8..2, small());
    let step = prop_oneof![step, other];
    (step.clone(), step.clone(), step.clone(), jump, step).prop_map(|(a, b, c, (code, jt, jf, k), d)| {
        let plain = |(code, k)| BpfInstruction { code, jt: 0, jf: 0, k };
        let program = vec![
            // All words of memory that are read below are written first.
            plain((0x02, 3)),
            plain(a),
            plain(b),
            plain(c),
            BpfInstruction { code, jt, jf, k },
            plain(d),
            plain((0x61, 3)),
            plain((0x4c, 0)),
            plain((0x54, 1)),
            plain((0x16, 0)),
        ];
        Match::Bpf(Bpf { program: BpfProgram::Classic(program) })
    })
}

/// One of them.
pub(super) fn any_match() -> impl Strategy<Value = Match> {
    prop_oneof![string(), bpf()]
}
