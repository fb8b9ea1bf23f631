//! The parameters of HMARK, there and back.

use crate::image::Line;
use bpftables_abi::ops::HmarkParams;
use bpftables_ruleset::Family;
use bpftables_ruleset::targets::Hmark;
use bpftables_ruleset::targets::hmark::IpMask;
use std::net::IpAddr;
use zerocopy::{FromBytes, IntoBytes};

fn mask(of: Option<IpMask>) -> [u32; 4] {
    let mut bytes = [0; 16];
    match of.map(|mask| mask.0) {
        Some(IpAddr::V4(mask)) => bytes[..4].copy_from_slice(&mask.octets()),
        Some(IpAddr::V6(mask)) => bytes = mask.octets(),
        None => {}
    }
    zerocopy::transmute!(bytes)
}

/// An SPI, or two ports: as they lie in a packet.
fn word(spi: Option<u32>, source: Option<u16>, destination: Option<u16>) -> u32 {
    let ports = u32::from(source.unwrap_or(0)) << 16 | u32::from(destination.unwrap_or(0));
    spi.unwrap_or(ports).to_be()
}

/// The line that programs read.
pub(crate) fn params(of: &Hmark) -> Line {
    let params = HmarkParams {
        smask: mask(of.src),
        dmask: mask(of.dst),
        port_mask: word(of.spi_mask, of.sport_mask, of.dport_mask),
        port_set: word(of.spi, of.sport, of.dport),
        rnd: of.rnd,
        modulus: of.modulus,
        offset: of.offset.unwrap_or(0),
        proto_mask: of.proto_mask.unwrap_or(0),
        conntrack: of.conntrack.into(),
    };
    let mut line = Line::ZERO;
    line.0[..size_of::<HmarkParams>()].copy_from_slice(params.as_bytes());
    line
}

/// What the line says: ports and SPI, which are the same bits, as an SPI.
pub(crate) fn decode(line: &Line, family: Family) -> Hmark {
    let Ok((params, _)) = HmarkParams::read_from_prefix(&line.0) else { return Hmark::default() };
    let mask = |of: [u32; 4]| {
        let bytes: [u8; 16] = zerocopy::transmute!(of);
        let [a, b, c, d, ..] = bytes;
        Some(IpMask(if family == Family::V4 { [a, b, c, d].into() } else { bytes.into() }))
    };
    Hmark {
        src: mask(params.smask),
        dst: mask(params.dmask),
        spi_mask: Some(u32::from_be(params.port_mask)),
        spi: Some(u32::from_be(params.port_set)),
        proto_mask: Some(params.proto_mask),
        rnd: params.rnd,
        modulus: params.modulus,
        offset: Some(params.offset),
        conntrack: params.conntrack != 0,
        ..Hmark::default()
    }
}
