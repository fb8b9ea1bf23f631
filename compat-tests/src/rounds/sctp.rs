//! Associations of SCTP: their states, and what does not go with them.

use super::Want;
use super::draw::Draw;
use super::pools::end;
use super::traffic::{Path, header, marked};

/// The tags that both ends ask for.
const TAGS: (u32, u32) = (0x1111_1111, 0x2222_2222);

/// A chunk of a type, with flags and what it holds.
fn chunk(kind: u8, flags: u8, body: &str) -> String {
    format!("{kind:02x}{flags:02x}{:04x}{body}", 4 + body.len() / 2)
}

fn open(kind: u8, tag: u32) -> String {
    chunk(kind, 0, &format!("{tag:08x}0000ffff0001000100000001"))
}

/// An association from its beginning to one of its ends, at times with something odd in the middle.
pub(super) fn flow(draw: &mut Draw, want: Want, p: &Path, port: usize, server: usize) -> Vec<String> {
    let (a, b) = (end(want.family, &p.src, port), end(want.family, &p.dst, server));
    let send = marked(draw, p);
    let first = |tag: u32, chunks: &str| format!("{send}sctp {a} {b} tag={tag} hex={chunks}");
    // The end that a packet is for has asked for its tag.
    let by = |who: char, chunks: &str| {
        let tag = if who == p.from { TAGS.1 } else { TAGS.0 };
        if who == p.from && p.from == 'r' { first(tag, chunks) } else { format!("{who} reply tag={tag} hex={chunks}") }
    };
    let (c, s) = (p.from, p.to);
    let (init, echo) = (open(1, TAGS.0), chunk(10, 0, "01020304"));
    let data = |draw: &mut Draw| {
        chunk(0, 3, draw.pick(&["000000010000000000000000aabbccdd", "00000002000100000000000001020304"]))
    };
    let sack = chunk(3, 0, "000000010000ffff00000000");
    let mut out = vec![first(0, &init) + &header(draw, want)];
    if s == 'r' {
        out.push(first(TAGS.1, &echo));
        out.push(first(TAGS.1, &data(draw)));
        return out;
    }
    out.push(by(s, &open(2, TAGS.1)));
    out.push(by(c, &if draw.percent(30) { echo.clone() + &data(draw) } else { echo }));
    out.push(by(s, &chunk(11, 0, "")));
    for _ in 0..draw.below(3) {
        let (who, back) = if draw.percent(60) { (c, s) } else { (s, c) };
        out.push(by(who, &data(draw)));
        out.push(by(back, &sack));
    }
    if draw.percent(30) {
        out.push(by(c, &chunk(4, 0, "0001000801020304")));
        out.push(by(s, &chunk(5, 0, "0001000801020304")));
    }
    match draw.below(8) {
        0..=2 => out.extend([by(c, &chunk(7, 0, "00000001")), by(s, &chunk(8, 0, "")), by(c, &chunk(14, 0, ""))]),
        // Both close.
        3 => out.extend([by(c, &chunk(7, 0, "00000001")), by(s, &chunk(7, 0, "00000001")), by(c, &chunk(8, 0, ""))]),
        4 => out.push(by(s, &chunk(6, 0, ""))),
        // The tag of the other direction, which its T bit says.
        5 => out.push(format!("{s} reply tag={} hex={}", TAGS.1, chunk(6, 1, ""))),
        _ => {}
    }
    if draw.percent(35) {
        let at = draw.from_to(1, out.len());
        let odd = match draw.below(9) {
            0 => first(0, &init),
            1 => first(0, &open(1, 0x3333_3333)),
            2 => first(0x4444_4444, &sack),
            3 => first(TAGS.1, &(sack.clone() + &init)),
            4 => format!("{s} reply tag=7 hex={}", chunk(4, 0, "00010004")),
            5 => first(TAGS.1, "00000000"),
            // docs/deviations.md: legacy writes the sum of what it translates anew, and nobody checks what programs of this host send.
            6 if c != 'r' => format!("{} badsum", first(TAGS.1, &sack)),
            7 => format!("{s} reply tag={} hex={}", TAGS.0, open(1, TAGS.1)),
            _ => first(TAGS.1, &chunk(9, 0, "00010004")),
        };
        out.insert(at, odd);
    }
    if draw.percent(25) {
        out.truncate(draw.from_to(1, out.len()));
    }
    out
}
