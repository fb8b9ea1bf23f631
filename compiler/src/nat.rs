//! Targets: code and argument.

use crate::lines::Lines;
use bpftables_abi::ops::{
    NAT_MAP_IPS, NAT_PERSISTENT, NAT_PROTO_OFFSET, NAT_PROTO_RANDOM, NAT_PROTO_RANDOM_FULLY, NAT_PROTO_SPECIFIED,
    NatParams, target,
};
use bpftables_ruleset::targets::{ConnmarkSet, NatRange, RejectWith};
use bpftables_ruleset::{PortRange, Target};
use std::borrow::Cow;
use std::net::IpAddr;
use zerocopy::IntoBytes;

/// An IPv4 address as it lies in the packet. IPv6 never gets here: `compile` refuses the family.
pub(crate) fn net_order(addr: IpAddr) -> Option<u32> {
    match addr {
        IpAddr::V4(addr) => Some(u32::from_ne_bytes(addr.octets())),
        IpAddr::V6(_) => None,
    }
}

/// `enum ipt_reject_with`. Those of IPv6 never get here: `compile` refuses the family.
pub(crate) const fn reject_code(with: RejectWith) -> Option<u32> {
    Some(match with {
        RejectWith::NetUnreachable => 0,
        RejectWith::HostUnreachable => 1,
        RejectWith::ProtoUnreachable => 2,
        RejectWith::PortUnreachable => 3,
        RejectWith::NetProhibited => 5,
        RejectWith::HostProhibited => 6,
        RejectWith::TcpReset => 7,
        RejectWith::AdminProhibited => 8,
        RejectWith::Icmp6NoRoute
        | RejectWith::Icmp6AdmProhibited
        | RejectWith::Icmp6AddrUnreachable
        | RejectWith::Icmp6PortUnreachable
        | RejectWith::Icmp6PolicyFail
        | RejectWith::Icmp6RejectRoute => return None,
    })
}

/// The target's code and argument; `jump` is the line of the chain that JUMP and GOTO go to.
pub(crate) fn encode(rule: &Target, jump: u32, lines: &mut Lines) -> Result<(u8, u32), Cow<'static, str>> {
    Ok(match rule {
        Target::None => (target::NONE, 0),
        Target::Accept => (target::ACCEPT, 0),
        Target::Drop => (target::DROP, 0),
        Target::Return => (target::RETURN, 0),
        Target::Jump(_) => (target::JUMP, jump),
        Target::Goto(_) => (target::GOTO, jump),
        Target::Reject(with) => {
            let code = reject_code(*with).ok_or("an answer of another family")?;
            (target::REJECT, code)
        }
        Target::Mark(set) => (target::MARK, lines.intern_words(&[set.value, set.mask])),
        Target::Connmark(set) => {
            let words = match *set {
                ConnmarkSet::Set { value, mask } => [0, value, 0, mask],
                ConnmarkSet::Save { nfmask, ctmask } => [1, 0, nfmask, ctmask],
                ConnmarkSet::Restore { nfmask, ctmask } => [2, 0, nfmask, ctmask],
                ConnmarkSet::Shifted { .. } => return Err("-j CONNMARK can't be run with a shift yet".into()),
            };
            (target::CONNMARK, lines.intern_words(&words))
        }
        Target::Dnat(range) => (target::DNAT, store(lines, &range_params(range)?)),
        Target::Snat(range) => (target::SNAT, store(lines, &range_params(range)?)),
        Target::Masquerade(m) => (target::MASQUERADE, store(lines, &port_params(m.ports, m.random, m.random_fully))),
        Target::Redirect(r) => (target::REDIRECT, store(lines, &port_params(r.ports, r.random, false))),
        Target::Netmap(n) => {
            let (Some(min), Some(max)) = (net_order(n.addr), net_order(n.mask)) else {
                return Err(Cow::Borrowed("an address of another family"));
            };
            let params = NatParams { flags: NAT_MAP_IPS, min, max, port_lo: 0, port_hi: 0, base: 0, pad: 0 };
            (target::NETMAP, store(lines, &params))
        }
        Target::Notrack => (target::NOTRACK, 0),
        Target::Ct(ct) if ct.is_notrack() => (target::NOTRACK, 0),
        // Whatever else can be said. A target stands above once the programs can run it.
        other => {
            return Err(format!("-j {} can't be run yet", other.name()).into());
        }
    })
}

fn port_params(ports: Option<PortRange>, random: bool, fully: bool) -> NatParams {
    let mut flags = 0;
    if random {
        flags |= NAT_PROTO_RANDOM;
    }
    if fully {
        flags |= NAT_PROTO_RANDOM_FULLY;
    }
    if ports.is_some() {
        flags |= NAT_PROTO_SPECIFIED;
    }
    let ports = ports.unwrap_or(PortRange { lo: 0, hi: 0 });
    NatParams { flags, min: 0, max: 0, port_lo: ports.lo, port_hi: ports.hi, base: 0, pad: 0 }
}

fn range_params(range: &NatRange) -> Result<NatParams, &'static str> {
    let mut params = port_params(range.ports, range.random, range.random_fully);
    if range.persistent {
        params.flags |= NAT_PERSISTENT;
    }
    if let Some((first, last)) = range.addrs {
        let (Some(min), Some(max)) = (net_order(first), net_order(last)) else {
            return Err("an address of another family");
        };
        params.flags |= NAT_MAP_IPS;
        (params.min, params.max) = (min, max);
    }
    if let Some(base) = range.base_port {
        params.flags |= NAT_PROTO_OFFSET;
        params.base = base;
    }
    Ok(params)
}

fn store(lines: &mut Lines, params: &NatParams) -> u32 {
    let mut line = [0; 64];
    line[..size_of::<NatParams>()].copy_from_slice(params.as_bytes());
    lines.intern(&[crate::image::Line(line)])
}
