//! Targets back from their bytes.

use super::run::Fault;
use super::search::line;
use crate::image::Image;
use bpftables_abi::image::Rule as Record;
use bpftables_abi::ops::{
    NAT_MAP_IPS, NAT_PERSISTENT, NAT_PROTO_OFFSET, NAT_PROTO_RANDOM, NAT_PROTO_RANDOM_FULLY, NAT_PROTO_SPECIFIED,
    NatParams, target,
};
use bpftables_ruleset::targets::{ConnmarkSet, MarkSet, Masquerade, NatRange, Netmap, Redirect, RejectWith};
use bpftables_ruleset::{ChainName, PortRange, Target};
use std::net::{IpAddr, Ipv4Addr};

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
        target::REJECT => Target::Reject(reject(r.arg)?),
        target::MARK => {
            let at = line(image, r.arg)?;
            Target::Mark(MarkSet { value: at.word(0), mask: at.word(1) })
        }
        target::CONNMARK => {
            let at = line(image, r.arg)?;
            let (nfmask, ctmask) = (at.word(2), at.word(3));
            Target::Connmark(match at.word(0) {
                0 => ConnmarkSet::Set { value: at.word(1), mask: ctmask },
                1 => ConnmarkSet::Save { nfmask, ctmask },
                2 => ConnmarkSet::Restore { nfmask, ctmask },
                other => return Err(Fault::UnknownCode("connmark mode", other)),
            })
        }
        target::NOTRACK => Target::Notrack,
        _ => nat(r.target, &params(image, r.arg)?)?,
    })
}

fn params(image: &Image, at: u32) -> Result<NatParams, Fault> {
    let mut bytes = [0; size_of::<NatParams>()];
    bytes.copy_from_slice(&line(image, at)?.0[..size_of::<NatParams>()]);
    Ok(zerocopy::transmute!(bytes))
}

fn nat(code: u8, p: &NatParams) -> Result<Target, Fault> {
    let on = |flag: u32| p.flags & flag != 0;
    let addr = |word: u32| IpAddr::V4(Ipv4Addr::from(word.to_ne_bytes()));
    let ports = on(NAT_PROTO_SPECIFIED).then_some(PortRange { lo: p.port_lo, hi: p.port_hi });
    let (random, random_fully) = (on(NAT_PROTO_RANDOM), on(NAT_PROTO_RANDOM_FULLY));
    let range = NatRange {
        addrs: on(NAT_MAP_IPS).then(|| (addr(p.min), addr(p.max))),
        ports,
        base_port: on(NAT_PROTO_OFFSET).then_some(p.base),
        random,
        random_fully,
        persistent: on(NAT_PERSISTENT),
    };
    Ok(match code {
        target::DNAT => Target::Dnat(range),
        target::SNAT => Target::Snat(range),
        target::MASQUERADE => Target::Masquerade(Masquerade { ports, random, random_fully }),
        target::REDIRECT => Target::Redirect(Redirect { ports, random }),
        target::NETMAP => Target::Netmap(Netmap { addr: addr(p.min), mask: addr(p.max) }),
        other => return Err(Fault::UnknownCode("target", other.into())),
    })
}

fn reject(code: u32) -> Result<RejectWith, Fault> {
    let all = [
        RejectWith::NetUnreachable,
        RejectWith::HostUnreachable,
        RejectWith::ProtoUnreachable,
        RejectWith::PortUnreachable,
        RejectWith::NetProhibited,
        RejectWith::HostProhibited,
        RejectWith::AdminProhibited,
        RejectWith::TcpReset,
    ];
    all.into_iter().find(|with| crate::nat::reject_code(*with) == Some(code)).ok_or(Fault::UnknownCode("reject", code))
}
