//! Checks of what a connection carries, and of groups of packets: ops back as matches, which are the evaluator's matter.

use super::check::Answer;
use super::run::Fault;
use super::search::line;
use crate::image::Image;
use bpftables_abi::ops::{HASHLIMIT_BYTES, HASHLIMIT_RATE_MATCH, INVERT, LIMIT_DESTINATION, Op, op};
use bpftables_ruleset::Family;
use bpftables_ruleset::eval::{Environment, Packet, connbytes_holds, connlabel_holds};
use bpftables_ruleset::matches::{Connbytes, ConnbytesDirection, ConnbytesMode, Connlabel, Connlimit, Hashlimit};

pub(super) fn check(image: &Image, o: &Op, packet: &mut Packet, env: &mut dyn Environment) -> Result<Answer, Fault> {
    let invert = o.flags & INVERT != 0;
    Ok(match o.op {
        op::HASHLIMIT => {
            let table = image.hashlimits.iter().find(|table| table.id == o.b);
            let table = table.ok_or(Fault::UnknownCode("hashlimit table", o.b))?;
            let on = |bit: u32| u32::from(o.a) & bit != 0;
            let (bytes, rate_match) = (on(HASHLIMIT_BYTES), on(HASHLIMIT_RATE_MATCH));
            let rule = Hashlimit { above: invert, bytes, rate_match, ..table.maker.clone() };
            env.hashlimit(&rule, packet).map_or(Answer::Hotdrop, Answer::from)
        }
        op::CONNBYTES => connbytes_holds(&connbytes(image, o)?, packet).into(),
        op::CONNLABEL => {
            let label = Connlabel { bit: o.a, name: None, invert, set: o.b != 0 };
            connlabel_holds(&label, packet).into()
        }
        op::HELPER => invert.into(),
        other => return Err(Fault::UnknownCode("op of a connection", other.into())),
    })
}

fn connbytes(image: &Image, o: &Op) -> Result<Connbytes, Fault> {
    let at = line(image, o.b)?;
    let bound = |word: usize| u64::from(at.word(word)) | u64::from(at.word(word + 1)) << 32;
    let mode = match o.a & 255 {
        0 => ConnbytesMode::Packets,
        1 => ConnbytesMode::Bytes,
        2 => ConnbytesMode::AveragePacket,
        other => return Err(Fault::UnknownCode("mode of connbytes", other.into())),
    };
    let direction = match o.a >> 8 {
        0 => ConnbytesDirection::Original,
        1 => ConnbytesDirection::Reply,
        2 => ConnbytesDirection::Both,
        other => return Err(Fault::UnknownCode("direction of connbytes", other.into())),
    };
    Ok(Connbytes { from: bound(0), to: bound(2), mode, direction })
}

pub(super) fn connlimit(image: &Image, o: &Op) -> Result<Connlimit, Fault> {
    let at = line(image, o.d)?;
    let mask = match image.family() {
        Family::V4 => std::array::from_fn::<u8, 4, _>(|byte| at.0[byte]).into(),
        Family::V6 => std::array::from_fn::<u8, 16, _>(|byte| at.0[byte]).into(),
    };
    let (upto, destination) = (o.flags & INVERT != 0, o.flags & LIMIT_DESTINATION != 0);
    Ok(Connlimit { limit: o.c, upto, mask, destination })
}
