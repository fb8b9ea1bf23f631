//! Ops of transport protocols, back as the matches they were made of; what those say is the evaluator's matter.

use super::check::Answer;
use super::run::Fault;
use super::search::line;
use crate::image::Image;
use bpftables_abi::ops::{INVERT, INVERT_DPORT, INVERT_SPORT, INVERT_TCP_OPTION, Op, op};
use bpftables_ruleset::PortRange;
use bpftables_ruleset::eval::{Packet, transport_holds};
use bpftables_ruleset::matches::esp::IdentifierRange;
use bpftables_ruleset::matches::sctp::{SctpChunks, SctpFlags, SctpQuantity};
use bpftables_ruleset::matches::{Ah, Dccp, Esp, Ipcomp, Match, Sctp, Tcpmss};

/// What the op says.
pub(super) fn check(image: &Image, o: &Op, packet: &Packet) -> Result<Answer, Fault> {
    let on = |flag: u8| o.flags & flag != 0;
    let range = |word: u32, flag: u8| Some((PortRange { lo: word as u16, hi: (word >> 16) as u16 }, on(flag)));
    let (sport, dport) = (range(o.b, INVERT_SPORT), range(o.c, INVERT_DPORT));
    let spi = IdentifierRange { min: o.b, max: o.c, invert: on(INVERT) };
    let m = match (o.op, o.a) {
        (op::SCTP, _) => Match::Sctp(Box::new(Sctp { sport, dport, chunks: chunks(image, o)? })),
        (op::DCCP, types) => Match::Dccp(Dccp {
            sport,
            dport,
            types: (o.d & 1 << 8 != 0).then_some((types, on(INVERT))),
            option: (o.d & 1 << 9 != 0).then_some((o.d as u8, on(INVERT_TCP_OPTION))),
        }),
        (op::SPI, 0) => Match::Esp(Esp { spi }),
        (op::SPI, 1) => Match::Ah(Ah { spi }),
        (op::SPI, 2) => Match::Ipcomp(Ipcomp { spi, reserved: false }),
        (op::TCPMSS, _) => Match::Tcpmss(Tcpmss { min: o.b as u16, max: (o.b >> 16) as u16, invert: on(INVERT) }),
        (other, _) => return Err(Fault::UnknownCode("op", other.into())),
    };
    let answer = transport_holds(&m, packet).ok_or(Fault::UnknownCode("op", o.op.into()))?;
    Ok(answer.into())
}

fn chunks(image: &Image, o: &Op) -> Result<Option<(SctpChunks, bool)>, Fault> {
    let quantity = match o.a {
        0 => return Ok(None),
        1 => SctpQuantity::Any,
        2 => SctpQuantity::All,
        3 => SctpQuantity::Only,
        other => return Err(Fault::UnknownCode("quantity of chunks", other.into())),
    };
    let at = line(image, o.d)?;
    let types = std::array::from_fn(|i| u64::from(at.word(2 * i)) | u64::from(at.word(2 * i + 1)) << 32);
    let flag = |index: u32| {
        let word = at.word(9 + index as usize);
        SctpFlags { index: word as u8, set: (word >> 8) as u8, mask: (word >> 16) as u8 }
    };
    let flags = (0..at.word(8).min(4)).map(flag).collect();
    Ok(Some((SctpChunks { quantity, types, flags }, o.flags & INVERT != 0)))
}
