//! Targets: code and argument.

use crate::image::Line;
use crate::lines::Lines;
use bpftables_abi::ops::{
    NAT_MAP_IPS, NAT_PERSISTENT, NAT_PROTO_OFFSET, NAT_PROTO_RANDOM, NAT_PROTO_RANDOM_FULLY, NAT_PROTO_SPECIFIED,
    NatParams, NatParams6, TeeParams, TproxyParams, target, track,
};
use bpftables_ruleset::targets::ct::Zone;
use bpftables_ruleset::targets::{ConnmarkSet, NatRange, RejectWith, Tee, Tproxy};
use bpftables_ruleset::{Family, PortRange, Target};
use std::borrow::Cow;
use std::net::IpAddr;
use zerocopy::IntoBytes;

/// `enum ipt_reject_with` or `enum ip6t_reject_with`; none: an answer of the other family.
pub(crate) fn reject_code(with: RejectWith, family: Family) -> Option<u32> {
    let (of, code) = match with {
        RejectWith::NetUnreachable => (Family::V4, 0),
        RejectWith::HostUnreachable => (Family::V4, 1),
        RejectWith::ProtoUnreachable => (Family::V4, 2),
        RejectWith::PortUnreachable => (Family::V4, 3),
        RejectWith::NetProhibited => (Family::V4, 5),
        RejectWith::HostProhibited => (Family::V4, 6),
        RejectWith::AdminProhibited => (Family::V4, 8),
        RejectWith::Icmp6NoRoute => (Family::V6, 0),
        RejectWith::Icmp6AdmProhibited => (Family::V6, 1),
        RejectWith::Icmp6AddrUnreachable => (Family::V6, 3),
        RejectWith::Icmp6PortUnreachable => (Family::V6, 4),
        RejectWith::Icmp6PolicyFail => (Family::V6, 7),
        RejectWith::Icmp6RejectRoute => (Family::V6, 8),
        RejectWith::TcpReset => (family, if family == Family::V4 { 7 } else { 6 }),
    };
    (of == family).then_some(code)
}

/// The target's code and argument; `jump` is the line of the chain that JUMP and GOTO go to.
pub(crate) fn encode(
    rule: &Target,
    jump: u32,
    family: Family,
    lines: &mut Lines,
) -> Result<(u8, u32), Cow<'static, str>> {
    Ok(match rule {
        Target::None => (target::NONE, 0),
        Target::Accept => (target::ACCEPT, 0),
        Target::Drop => (target::DROP, 0),
        Target::Return => (target::RETURN, 0),
        Target::Jump(_) => (target::JUMP, jump),
        Target::Goto(_) => (target::GOTO, jump),
        Target::Reject(with) => {
            let code = reject_code(*with, family).ok_or("an answer of another family")?;
            (target::REJECT, code)
        }
        Target::Mark(set) => (target::MARK, lines.intern_words(&[set.value, set.mask])),
        Target::Connmark(set) => {
            let (set, shift) = match set {
                ConnmarkSet::Shifted { set, left, bits } => (&**set, u32::from(*bits) | u32::from(!left) << 8),
                set => (set, 0),
            };
            let words = match *set {
                ConnmarkSet::Set { value, mask } => [0, value, 0, mask, shift],
                ConnmarkSet::Save { nfmask, ctmask } => [1, 0, nfmask, ctmask, shift],
                ConnmarkSet::Restore { nfmask, ctmask } => [2, 0, nfmask, ctmask, shift],
                ConnmarkSet::Shifted { .. } => return Err("a mark that is shifted twice".into()),
            };
            (target::CONNMARK, lines.intern_words(&words))
        }
        Target::Dnat(range) => (target::DNAT, range_params(range).store(family, lines)?),
        Target::Snat(range) => (target::SNAT, range_params(range).store(family, lines)?),
        Target::Masquerade(m) => {
            let params = port_params(m.ports, m.random, m.random_fully);
            let params = Params { base_port: m.shifted.then_some(0), ..params };
            (target::MASQUERADE, params.store(family, lines)?)
        }
        Target::Redirect(r) => (target::REDIRECT, port_params(r.ports, r.random, false).store(family, lines)?),
        Target::Netmap(n) => {
            let params = Params { addrs: Some((n.addr, n.mask)), ..Params::default() };
            (target::NETMAP, params.store(family, lines)?)
        }
        Target::Notrack => (target::NOTRACK, 0),
        Target::Ct(ct) if ct.notrack => (target::NOTRACK, 0),
        Target::Ct(ct) if ct.helper.is_empty() && ct.timeout.is_empty() => (target::CT, zone(ct.zone)),
        Target::Log(log) => (target::LOG, lines.intern(&[crate::log::params(log)])),
        Target::Nflog(nflog) => (target::NFLOG, lines.intern(&crate::log::nflog(nflog))),
        Target::Trace(_) => (target::TRACE, 0),
        Target::Tproxy(tproxy) => (target::TPROXY, lines.intern(&[tproxy_params(tproxy)])),
        Target::Tee(tee) => (target::TEE, lines.intern(&[tee_params(tee)])),
        Target::Hmark(hmark) => (target::HMARK, lines.intern(&[crate::hmark::params(hmark)])),
        other => match crate::header::encode(other, family, lines) {
            Some(known) => known,
            None => return Err(crate::refused::target(other)),
        },
    })
}

/// An address in the room that IPv6's takes.
fn four_words(addr: IpAddr) -> [u32; 4] {
    let mut bytes = [0; 16];
    match addr {
        IpAddr::V4(addr) => bytes[..4].copy_from_slice(&addr.octets()),
        IpAddr::V6(addr) => bytes = addr.octets(),
    }
    zerocopy::transmute!(bytes)
}

/// The line of TEE.
fn tee_params(tee: &Tee) -> Line {
    let mut params = TeeParams { gateway: four_words(tee.gateway), oif: [0; 16] };
    params.oif[..tee.oif.len()].copy_from_slice(tee.oif.as_bytes());
    let mut line = Line::ZERO;
    line.0[..size_of::<TeeParams>()].copy_from_slice(params.as_bytes());
    line
}

/// The line of TPROXY.
fn tproxy_params(tproxy: &Tproxy) -> Line {
    let &Tproxy { addr, port, mark, mask } = tproxy;
    let params = TproxyParams { addr: four_words(addr), mark, mask, port, pad: 0 };
    let mut line = Line::ZERO;
    line.0[..size_of::<TproxyParams>()].copy_from_slice(params.as_bytes());
    line
}

/// The argument of CT: the kernel makes a zone of both directions where none or both are named.
fn zone(zone: Zone) -> u32 {
    let directions = match (zone.original, zone.reply) {
        (true, false) => track::ORIGINAL,
        (false, true) => track::REPLY,
        _ => track::ORIGINAL | track::REPLY,
    };
    u32::from(zone.id) | (directions | if zone.mark { track::MARK } else { 0 }) << 16
}

/// What a nat target asks for, of either family.
#[derive(Debug, Default)]
struct Params {
    /// Other than those of the fields below.
    flags: u32,
    /// First and last; NETMAP: network and mask.
    addrs: Option<(IpAddr, IpAddr)>,
    ports: Option<PortRange>,
    base_port: Option<u16>,
}

impl Params {
    /// The line that holds them.
    fn store(&self, family: Family, lines: &mut Lines) -> Result<u32, &'static str> {
        let when = |there: bool, flag: u32| if there { flag } else { 0 };
        let flags = self.flags
            | when(self.addrs.is_some(), NAT_MAP_IPS)
            | when(self.ports.is_some(), NAT_PROTO_SPECIFIED)
            | when(self.base_port.is_some(), NAT_PROTO_OFFSET);
        let PortRange { lo: port_lo, hi: port_hi } = self.ports.unwrap_or(PortRange { lo: 0, hi: 0 });
        let (base, pad) = (self.base_port.unwrap_or(0), 0);
        let mut line = [0; 64];
        match family {
            Family::V4 => {
                let (min, max) = match self.addrs {
                    None => (0, 0),
                    Some((IpAddr::V4(min), IpAddr::V4(max))) => {
                        (u32::from_ne_bytes(min.octets()), u32::from_ne_bytes(max.octets()))
                    }
                    Some(_) => return Err("an address of another family"),
                };
                let params = NatParams { flags, min, max, port_lo, port_hi, base, pad };
                line[..size_of::<NatParams>()].copy_from_slice(params.as_bytes());
            }
            Family::V6 => {
                let (min, max) = match self.addrs {
                    None => ([0; 16], [0; 16]),
                    Some((IpAddr::V6(min), IpAddr::V6(max))) => (min.octets(), max.octets()),
                    Some(_) => return Err("an address of another family"),
                };
                let params = NatParams6 { flags, min, max, port_lo, port_hi, base, pad };
                line[..size_of::<NatParams6>()].copy_from_slice(params.as_bytes());
            }
        }
        Ok(lines.intern(&[crate::image::Line(line)]))
    }
}

fn port_params(ports: Option<PortRange>, random: bool, fully: bool) -> Params {
    let mut flags = 0;
    if random {
        flags |= NAT_PROTO_RANDOM;
    }
    if fully {
        flags |= NAT_PROTO_RANDOM_FULLY;
    }
    Params { flags, ports, ..Params::default() }
}

fn range_params(range: &NatRange) -> Params {
    let mut params = port_params(range.ports, range.random, range.random_fully);
    if range.persistent {
        params.flags |= NAT_PERSISTENT;
    }
    Params { addrs: range.addrs, base_port: range.base_port, ..params }
}
