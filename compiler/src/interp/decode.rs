//! Targets back from their bytes.

use super::run::Fault;
use super::search::line;
use crate::image::Image;
use bpftables_abi::image::Rule as Record;
use bpftables_abi::ops::{
    NAT_MAP_IPS, NAT_PERSISTENT, NAT_PROTO_OFFSET, NAT_PROTO_RANDOM, NAT_PROTO_RANDOM_FULLY, NAT_PROTO_SPECIFIED,
    NatParams, NatParams6, NptParams, TeeParams, target, track,
};
use bpftables_ruleset::targets::ct::{CtSet, Zone};
use bpftables_ruleset::targets::npt::Prefixes;
use bpftables_ruleset::targets::{
    Checksum, Classify, ConnmarkSet, Dnpt, EcnSet, HlSet, HopChange, MarkSet, Masquerade, NatRange, Netmap, Redirect,
    RejectWith, Snpt, TcpmssSet, Tcpoptstrip, Tee, TosSet, Trace, TtlSet,
};
use bpftables_ruleset::{ChainName, Family, PortRange, Target};
use std::net::IpAddr;

/// The target of a record; jumps go to a chain named by its line.
pub(super) fn target_of(image: &Image, r: &Record) -> Result<Target, Fault> {
    let chain = || ChainName(r.arg.to_string().into());
    Ok(match r.target {
        target::NONE => Target::None,
        target::ACCEPT => Target::Accept,
        target::DROP => Target::Drop,
        target::RETURN => Target::Return,
        target::JUMP => Target::Jump(chain()),
        target::GOTO => Target::Goto(chain()),
        target::REJECT => Target::Reject(reject(r.arg, image.family())?),
        target::MARK => {
            let at = line(image, r.arg)?;
            Target::Mark(MarkSet { value: at.word(0), mask: at.word(1) })
        }
        target::CONNMARK => {
            let at = line(image, r.arg)?;
            let (nfmask, ctmask) = (at.word(2), at.word(3));
            let set = match at.word(0) {
                0 => ConnmarkSet::Set { value: at.word(1), mask: ctmask },
                1 => ConnmarkSet::Save { nfmask, ctmask },
                2 => ConnmarkSet::Restore { nfmask, ctmask },
                other => return Err(Fault::UnknownCode("connmark mode", other)),
            };
            let [bits, right, ..] = at.word(4).to_le_bytes();
            let shifted = |set| ConnmarkSet::Shifted { set: Box::new(set), left: right == 0, bits };
            Target::Connmark(if bits == 0 { set } else { shifted(set) })
        }
        target::NOTRACK => Target::Notrack,
        target::CT => {
            let on = |bit: u32| r.arg >> 16 & bit != 0;
            let zone = Zone {
                id: r.arg as u16,
                mark: on(track::MARK),
                original: on(track::ORIGINAL),
                reply: on(track::REPLY),
            };
            Target::Ct(Box::new(CtSet { zone, ..CtSet::default() }))
        }
        target::LOG => {
            Target::Log(crate::log::decode(line(image, r.arg)?).ok_or(Fault::UnknownCode("parameters of LOG", r.arg))?)
        }
        target::NFLOG => {
            let found = crate::log::decode_nflog(line(image, r.arg)?, line(image, r.arg + 1)?);
            Target::Nflog(found.ok_or(Fault::UnknownCode("parameters of NFLOG", r.arg))?)
        }
        target::TRACE => Target::Trace(Trace),
        target::HMARK => Target::Hmark(Box::new(crate::hmark::decode(line(image, r.arg)?, image.family()))),
        target::TEE => {
            let mut params = [0; size_of::<TeeParams>()];
            params.copy_from_slice(&line(image, r.arg)?.0[..size_of::<TeeParams>()]);
            let TeeParams { gateway, oif } = zerocopy::transmute!(params);
            let [first, ..] = gateway;
            let gateway = match image.family() {
                Family::V4 => IpAddr::from(first.to_ne_bytes()),
                Family::V6 => {
                    let bytes: [u8; 16] = zerocopy::transmute!(gateway);
                    IpAddr::from(bytes)
                }
            };
            let name = oif.split(|byte| *byte == 0).next().unwrap_or_default();
            Target::Tee(Tee { gateway, oif: String::from_utf8_lossy(name).into() })
        }
        target::TOS => {
            let [value, mask, ..] = r.arg.to_le_bytes();
            Target::Tos(TosSet { value, mask })
        }
        target::TTL => {
            let [how, value, ..] = r.arg.to_le_bytes();
            let change = match how {
                0 => HopChange::Set(value),
                1 => HopChange::Increment(value),
                2 => HopChange::Decrement(value),
                other => return Err(Fault::UnknownCode("change of the TTL", other.into())),
            };
            match image.family() {
                Family::V4 => Target::Ttl(TtlSet(change)),
                Family::V6 => Target::Hl(HlSet(change)),
            }
        }
        target::ECN => {
            let bit = |at: u32| (r.arg >> at & 1 != 0).then_some(r.arg >> (at + 1) & 1 != 0);
            let ect = (r.arg >> 4 & 1 != 0).then_some((r.arg >> 5 & 3).to_le_bytes()[0]);
            Target::Ecn(EcnSet { ece: bit(0), cwr: bit(2), ect })
        }
        target::TCPMSS => Target::Tcpmss(TcpmssSet::Mss(r.arg as u16)),
        target::TCPOPTSTRIP => {
            let at = line(image, r.arg)?;
            Target::Tcpoptstrip(Tcpoptstrip { kinds: std::array::from_fn(|word| at.word(word)) })
        }
        target::CLASSIFY => Target::Classify(Classify { major: (r.arg >> 16) as u16, minor: r.arg as u16 }),
        target::CHECKSUM => Target::Checksum(Checksum),
        target::SNPT => Target::Snpt(Box::new(Snpt(prefixes(image, r.arg)?))),
        target::DNPT => Target::Dnpt(Box::new(Dnpt(prefixes(image, r.arg)?))),
        _ => nat(r.target, params(image, r.arg)?)?,
    })
}

/// The prefixes of SNPT and DNPT. Of the new one's length no more is known than that it is not the shorter of the two.
fn prefixes(image: &Image, at: u32) -> Result<Prefixes, Fault> {
    let p: NptParams = zerocopy::transmute!(line(image, at)?.0);
    let length = u128::from_be_bytes(p.from_mask).leading_ones() as u8;
    Ok(Prefixes { src: (p.from.into(), length), dst: (p.to.into(), p.bits as u8) })
}

/// Parameters of a nat target: those without addresses, and the addresses.
fn params(image: &Image, at: u32) -> Result<(NatParams, IpAddr, IpAddr), Fault> {
    let at = line(image, at)?;
    Ok(match image.family() {
        Family::V4 => {
            let mut bytes = [0; size_of::<NatParams>()];
            bytes.copy_from_slice(&at.0[..size_of::<NatParams>()]);
            let p: NatParams = zerocopy::transmute!(bytes);
            (p, p.min.to_ne_bytes().into(), p.max.to_ne_bytes().into())
        }
        Family::V6 => {
            let mut bytes = [0; size_of::<NatParams6>()];
            bytes.copy_from_slice(&at.0[..size_of::<NatParams6>()]);
            let NatParams6 { flags, min, max, port_lo, port_hi, base, pad } = zerocopy::transmute!(bytes);
            (NatParams { flags, min: 0, max: 0, port_lo, port_hi, base, pad }, min.into(), max.into())
        }
    })
}

fn nat(code: u8, (p, min, max): (NatParams, IpAddr, IpAddr)) -> Result<Target, Fault> {
    let on = |flag: u32| p.flags & flag != 0;
    let ports = on(NAT_PROTO_SPECIFIED).then_some(PortRange { lo: p.port_lo, hi: p.port_hi });
    let (random, random_fully) = (on(NAT_PROTO_RANDOM), on(NAT_PROTO_RANDOM_FULLY));
    let range = NatRange {
        addrs: on(NAT_MAP_IPS).then_some((min, max)),
        ports,
        base_port: on(NAT_PROTO_OFFSET).then_some(p.base),
        random,
        random_fully,
        persistent: on(NAT_PERSISTENT),
    };
    Ok(match code {
        target::DNAT => Target::Dnat(range),
        target::SNAT => Target::Snat(range),
        target::MASQUERADE => {
            Target::Masquerade(Masquerade { ports, shifted: on(NAT_PROTO_OFFSET), random, random_fully })
        }
        target::REDIRECT => Target::Redirect(Redirect { ports, random }),
        target::NETMAP => Target::Netmap(Netmap { addr: min, mask: max }),
        other => return Err(Fault::UnknownCode("target", other.into())),
    })
}

fn reject(code: u32, family: Family) -> Result<RejectWith, Fault> {
    let all = [
        RejectWith::NetUnreachable,
        RejectWith::HostUnreachable,
        RejectWith::ProtoUnreachable,
        RejectWith::PortUnreachable,
        RejectWith::NetProhibited,
        RejectWith::HostProhibited,
        RejectWith::AdminProhibited,
        RejectWith::Icmp6NoRoute,
        RejectWith::Icmp6AdmProhibited,
        RejectWith::Icmp6AddrUnreachable,
        RejectWith::Icmp6PortUnreachable,
        RejectWith::Icmp6PolicyFail,
        RejectWith::Icmp6RejectRoute,
        RejectWith::TcpReset,
    ];
    all.into_iter()
        .find(|with| crate::nat::reject_code(*with, family) == Some(code))
        .ok_or(Fault::UnknownCode("reject", code))
}
