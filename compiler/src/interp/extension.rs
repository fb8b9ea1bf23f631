//! Ops of IPv6's extension headers, back as the matches they were made of; what those say is the evaluator's matter.

use super::check::Answer;
use super::run::Fault;
use super::search::line;
use crate::image::Image;
use bpftables_abi::ops::{INVERT, Op, op};
use bpftables_ruleset::eval::{Packet, extension_holds};
use bpftables_ruleset::matches::esp::IdentifierRange;
use bpftables_ruleset::matches::hbh::OptionsHeader;
use bpftables_ruleset::matches::srh::SrhNumber;
use bpftables_ruleset::matches::{Ah6, Dst, Frag, Hbh, Ipv6header, Match, Mh, Rt, Srh};
use std::net::{IpAddr, Ipv6Addr};

/// What the op says.
pub(super) fn check(image: &Image, o: &Op, packet: &Packet) -> Result<Answer, Fault> {
    let invert = o.flags & INVERT != 0;
    let id = IdentifierRange { min: o.b, max: o.c, invert };
    let m = match o.op {
        op::AH6 => Match::Ah6(Ah6 {
            spi: id,
            length: o.d & 0xffff,
            invert_length: o.d & 1 << 16 != 0,
            reserved: o.d & 1 << 17 != 0,
        }),
        op::IPV6HEADER => {
            Match::Ipv6header(Ipv6header { headers: o.b as u8, names: "".into(), invert, soft: o.a == 1 })
        }
        op::FRAG => {
            let [reserved, first, more, last] = [1, 2, 4, 8].map(|bit| o.a & bit != 0);
            Match::Frag(Frag { id, length: None, reserved, first, more, last })
        }
        op::RT => Match::Rt(Box::new(rt(image, o)?)),
        op::OPTS => {
            let header = options(image, o)?;
            match o.a {
                0 => Match::Hbh(Box::new(Hbh { header })),
                60 => Match::Dst(Box::new(Dst { header })),
                other => return Err(Fault::UnknownCode("header of options", other.into())),
            }
        }
        op::MH => Match::Mh(Mh { min: o.b as u8, max: (o.b >> 16) as u8, invert }),
        op::SRH => Match::Srh(Box::new(srh(image, o)?)),
        other => return Err(Fault::UnknownCode("op", other.into())),
    };
    let answer = extension_holds(&m, packet).ok_or(Fault::UnknownCode("op", o.op.into()))?;
    Ok(answer.into())
}

/// The address at place `index` of the lines from `at` on.
fn addr(image: &Image, at: u32, index: u32) -> Result<Ipv6Addr, Fault> {
    let place = (index % 4) as usize * 16;
    let octets = &line(image, at + index / 4)?.0[place..place + 16];
    Ok(std::array::from_fn::<u8, 16, _>(|i| octets[i]).into())
}

fn rt(image: &Image, o: &Op) -> Result<Rt, Fault> {
    let at = line(image, o.b)?;
    let on = |bit: u32| at.word(0) & bit != 0;
    let addresses = (0..at.word(5)).map(|index| addr(image, o.b + 1, index)).collect::<Result<_, _>>()?;
    Ok(Rt {
        kind: on(1).then_some((at.word(1), on(2))),
        segments_left: IdentifierRange { min: at.word(2), max: at.word(3), invert: on(4) },
        length: on(8).then_some((at.word(4), on(16))),
        reserved: on(32),
        addresses: on(64).then_some(addresses),
        not_strict: on(128),
    })
}

fn options(image: &Image, o: &Op) -> Result<OptionsHeader, Fault> {
    let at = line(image, o.b)?;
    let asked = (0..o.d as usize & 0xff).map(|index| {
        let word = at.word(index);
        ((word >> 8) as u8, word as u8)
    });
    Ok(OptionsHeader {
        length: (o.d & 1 << 9 != 0).then_some((o.c, o.flags & INVERT != 0)),
        options: (o.d & 1 << 8 != 0).then(|| asked.collect()),
    })
}

fn srh(image: &Image, o: &Op) -> Result<Srh, Fault> {
    let at = line(image, o.b)?;
    let (asked, inverted) = (at.word(0), at.word(1));
    let given = |bit: u32| (asked >> bit & 1 != 0).then_some(inverted >> bit & 1 != 0);
    let [header, length, left, last] = at.word(2).to_le_bytes();
    let number =
        |value: u8, bit: u32| SrhNumber { value, equal: given(bit), greater: given(bit + 1), less: given(bit + 2) };
    let segment = |bit: u32, index: u32| -> Result<Option<(IpAddr, IpAddr, bool)>, Fault> {
        let Some(invert) = given(bit) else { return Ok(None) };
        Ok(Some((addr(image, o.b + 1, index)?.into(), addr(image, o.b + 1, index + 1)?.into(), invert)))
    };
    Ok(Srh {
        next_header: given(0).map(|invert| (header, invert)),
        length: number(length, 1),
        segments_left: number(left, 4),
        last_entry: number(last, 7),
        tag: given(10).map(|invert| (at.word(3) as u16, invert)),
        previous: segment(11, 0)?,
        next: segment(12, 2)?,
        last: segment(13, 4)?,
    })
}
