//! A record's checks, then its ops.

use super::run::Fault;
use super::search::{iface_class, line};
use crate::image::Image;
use bpftables_abi::image::{Addrs6, Rule as Record, l4, rule_flag as f};
use bpftables_abi::ops::{
    ADDRTYPE_INVERT_DST, ADDRTYPE_INVERT_SRC, ADDRTYPE_LIMIT_IN, ADDRTYPE_LIMIT_OUT, INVERT, INVERT_DPORT,
    INVERT_SPORT, INVERT_TCP_FLAGS, INVERT_TCP_OPTION, Op, RecentParams, RecentParams6, op,
};
use bpftables_ruleset::eval::{self, Connection, Ct, Environment, Packet, StateKey};
use bpftables_ruleset::matches::{
    Addrtype, Cluster, Ecn, HopComparison, Iprange, Length, Match, Recent, RecentOp, Tos, Ttl,
};
use bpftables_ruleset::{Family, Slot};
use std::net::IpAddr;

/// What a check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Yes,
    No,
    Hotdrop,
    /// It holds, and the packet is dropped once the rule is done.
    Doomed,
}

impl From<eval::Answer> for Answer {
    fn from(answer: eval::Answer) -> Self {
        match answer {
            eval::Answer::Yes => Self::Yes,
            eval::Answer::No | eval::Answer::Unknown(_) => Self::No,
            eval::Answer::Hotdrop => Self::Hotdrop,
            eval::Answer::Doomed => Self::Doomed,
        }
    }
}

impl From<bool> for Answer {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

/// Whether an address is, under a mask, the wanted one; all as they lie in the image.
fn same(addr: IpAddr, mask: &[u8], wanted: &[u8]) -> bool {
    let (v4, v6);
    let octets: &[u8] = match addr {
        IpAddr::V4(addr) => {
            v4 = addr.octets();
            &v4
        }
        IpAddr::V6(addr) => {
            v6 = addr.octets();
            &v6
        }
    };
    octets.len() == mask.len() && octets.iter().zip(mask).map(|(a, m)| a & m).eq(wanted.iter().copied())
}

/// The image's addresses of a rule: source, its mask, destination, its mask.
fn addrs(image: &Image, r: &Record) -> Result<[Vec<u8>; 4], Fault> {
    if image.family() == Family::V4 {
        return Ok([r.saddr, r.smask, r.daddr, r.dmask].map(|word| word.to_ne_bytes().to_vec()));
    }
    if r.flags & (f::SADDR | f::DADDR) == 0 {
        return Ok(Default::default());
    }
    let a: Addrs6 = zerocopy::transmute!(line(image, r.saddr)?.0);
    Ok([a.saddr, a.smask, a.daddr, a.dmask].map(|octets| octets.to_vec()))
}

/// Whether the rule matches.
pub(super) fn rule(image: &Image, r: &Record, packet: &mut Packet, env: &mut dyn Environment) -> Result<Answer, Fault> {
    match base(image, r, packet)? {
        Answer::Yes => {}
        other => return Ok(other),
    }
    match folded(r, packet) {
        Answer::Yes => ops(image, r, packet, env),
        other => Ok(other),
    }
}

fn base(image: &Image, r: &Record, packet: &Packet) -> Result<Answer, Fault> {
    let on = |flag: u32| r.flags & flag != 0;
    let holds = |asked: u32, inverted: u32, is: bool| !on(asked) || is != on(inverted);
    let class = |lo: u16, hi: u16, name: &Option<Box<str>>| (lo..=hi).contains(&iface_class(image, name.as_deref()));
    let fragment = packet.fragment_offset() != 0;
    let [saddr, smask, daddr, dmask] = addrs(image, r)?;
    let before = !on(f::NEVER)
        && holds(f::SADDR, f::INV_SADDR, same(packet.saddr(), &smask, &saddr))
        && holds(f::DADDR, f::INV_DADDR, same(packet.daddr(), &dmask, &daddr))
        && (!on(f::IIF) || class(r.iif_lo, r.iif_hi, &packet.iif) != on(f::INV_IIF))
        && (!on(f::OIF) || class(r.oif_lo, r.oif_hi, &packet.oif) != on(f::INV_OIF));
    if !before {
        return Ok(Answer::No);
    }
    if on(f::WALK) && packet.proto().is_none() {
        return Ok(Answer::Hotdrop);
    }
    let after = holds(f::PROTO, f::INV_PROTO, packet.proto() == Some(r.proto))
        && (!on(f::FRAG) || fragment)
        && (!on(f::NOT_FRAG) || !fragment);
    Ok(after.into())
}

/// Ports of a header that must be there.
struct Header<'a>(&'a [u8]);

impl Header<'_> {
    fn word(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.0[at], self.0[at + 1]])
    }
}

/// The L4 header, or what netfilter does without.
fn header(packet: &Packet, len: usize, tcp: bool) -> Result<Header<'_>, Answer> {
    match packet.fragment_offset() {
        0 => packet.payload().get(..len).map(Header).ok_or(Answer::Hotdrop),
        1 if tcp => Err(Answer::Hotdrop),
        _ => Err(Answer::No),
    }
}

fn within(v: u16, lo: u16, hi: u16) -> bool {
    lo <= v && v <= hi
}

fn folded(r: &Record, packet: &Packet) -> Answer {
    let on = |flag: u32| r.flags & flag != 0;
    let (len, tcp) = match r.l4 {
        l4::NONE => return Answer::Yes,
        l4::TCP => (20, true),
        _ => (8, false),
    };
    let h = match header(packet, len, tcp) {
        Ok(h) => h,
        Err(answer) => return answer,
    };
    if r.l4 == l4::ICMP {
        let code = u16::from(h.0[1]);
        let is = (packet.family() == Family::V4 && r.l4_a == 255)
            || (h.0[0] == r.l4_a && within(code, r.dport_lo, r.dport_hi));
        return (is != on(f::INV_ICMP)).into();
    }
    let ports = within(h.word(0), r.sport_lo, r.sport_hi) != on(f::INV_SPORT)
        && within(h.word(2), r.dport_lo, r.dport_hi) != on(f::INV_DPORT);
    (ports && (!tcp || (h.0[13] & r.l4_a == r.l4_b) != on(f::INV_TCP_FLAGS))).into()
}

fn ops(image: &Image, r: &Record, packet: &mut Packet, env: &mut dyn Environment) -> Result<Answer, Fault> {
    let mut at = 0;
    let mut ordinal = 0;
    let mut doomed = false;
    while at < u32::from(r.nops) {
        let place = (at as usize % 4) * 16;
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&line(image, r.ops + at / 4)?.0[place..place + 16]);
        let o: Op = zerocopy::transmute!(bytes);
        at += 1;
        let invert = o.flags & INVERT != 0;
        let key = StateKey { slot: Slot(r.slot), ordinal };
        ordinal += u8::from(matches!(o.op, op::LIMIT | op::NTH | op::RECENT | op::QUOTA | op::CONNLIMIT | op::SET));
        let answer: Answer = match o.op {
            op::TCP => tcp(&o, packet),
            op::UDP => udp(&o, packet),
            op::ICMP => match header(packet, 8, false) {
                Err(answer) => answer,
                Ok(h) => {
                    let (kind, lo, hi) = (o.b as u8, o.b >> 8 & 0xff, o.b >> 16 & 0xff);
                    let is = (packet.family() == Family::V4 && kind == 255)
                        || (h.0[0] == kind && (lo..=hi).contains(&u32::from(h.0[1])));
                    (is != invert).into()
                }
            },
            op::MULTIPORT => multiport(image, &o, packet)?,
            op::MARK => ((packet.mark & o.c == o.b) != invert).into(),
            op::CONNMARK => match &packet.ct {
                Ct::Connection(ct) => ((ct.mark & o.c == o.b) != invert).into(),
                _ => Answer::No,
            },
            op::STATE => ((packet.state_bit() & o.a != 0) != invert).into(),
            op::CT => {
                let asked = o.b == 1;
                let known = matches!(packet.ct, Ct::Connection(_));
                if !known && asked {
                    at += o.c;
                }
                let state = !asked || (packet.state_bits() & o.a != 0) != invert;
                (state && (known || asked)).into()
            }
            op::ADDRTYPE => addrtype(&o, packet, env),
            op::RANDOM => ((env.random(key.slot) & 0x7fff_ffff < o.b) != invert).into(),
            op::NTH => (env.nth(key, o.c - 1, o.d) != invert).into(),
            op::LIMIT => env.limit(key, o.c, o.d).into(),
            op::RECENT => recent(image, &o, packet, env)?,
            op::MAC..=op::POLICY => network(image, &o, packet)?,
            op::SCTP..=op::TCPMSS => super::transport::check(image, &o, packet)?,
            op::AH6..=op::SRH => super::extension::check(image, &o, packet)?,
            op::STRING..=op::BPF => super::search_ops::check(image, &o, packet)?.into(),
            op::U32..=op::CPU => super::packet::check(image, &o, packet, env)?.into(),
            op::QUOTA => (env.quota(key, u64::from(o.d) << 32 | u64::from(o.c), packet.len() as u64) != invert).into(),
            op::CONNLIMIT => {
                let limit = super::connection::connlimit(image, &o)?;
                env.connlimit(key, &limit, packet).map_or(Answer::Hotdrop, Answer::from)
            }
            op::HASHLIMIT..=op::HELPER => super::connection::check(image, &o, packet, env)?,
            op::CLUSTER => {
                let cluster = Cluster { total: o.a.into(), mask: o.b, seed: o.c, invert };
                bpftables_ruleset::eval::cluster_holds(&cluster, packet).into()
            }
            _ => match &packet.ct {
                Ct::Connection(ct) => (connection(image, &o, ct)? != invert).into(),
                _ => Answer::No,
            },
        };
        match answer {
            Answer::Yes => {}
            Answer::Doomed => doomed = true,
            _ if doomed => return Ok(Answer::Hotdrop),
            other => return Ok(other),
        }
    }
    Ok(if doomed { Answer::Doomed } else { Answer::Yes })
}

fn in_word(v: u16, range: u32) -> bool {
    within(v, range as u16, (range >> 16) as u16)
}

fn tcp(o: &Op, packet: &Packet) -> Answer {
    let h = match header(packet, 20, true) {
        Ok(h) => h,
        Err(answer) => return answer,
    };
    let on = |flag: u8| o.flags & flag != 0;
    if o.a != 1 {
        let flags = h.0[13] & o.d as u8 == (o.d >> 8) as u8;
        if in_word(h.word(0), o.b) == on(INVERT_SPORT)
            || in_word(h.word(2), o.c) == on(INVERT_DPORT)
            || flags == on(INVERT_TCP_FLAGS)
        {
            return Answer::No;
        }
    }
    let want = (o.d >> 16) as u8;
    if want == 0 {
        return Answer::Yes;
    }
    let len = usize::from(h.0[12] >> 4) * 4;
    let Some(mut options) = packet.payload().get(20..len) else { return Answer::Hotdrop };
    let mut found = false;
    while let [kind, rest @ ..] = options {
        if *kind == want {
            found = true;
            break;
        }
        let skip = if *kind < 2 { 1 } else { usize::from(*rest.first().unwrap_or(&1)).max(1) };
        options = options.get(skip..).unwrap_or(&[]);
    }
    (found != on(INVERT_TCP_OPTION)).into()
}

fn udp(o: &Op, packet: &Packet) -> Answer {
    match header(packet, 8, false) {
        Err(answer) => answer,
        Ok(h) => {
            let sport = in_word(h.word(0), o.b) != (o.flags & INVERT_SPORT != 0);
            (sport && in_word(h.word(2), o.c) != (o.flags & INVERT_DPORT != 0)).into()
        }
    }
}

fn multiport(image: &Image, o: &Op, packet: &Packet) -> Result<Answer, Fault> {
    let h = match header(packet, 4, false) {
        Ok(h) => h,
        Err(answer) => return Ok(answer),
    };
    let words = line(image, o.c)?;
    let is = (0..usize::from(o.a))
        .map(|index| words.word(index))
        .any(|range| (o.b != 1 && in_word(h.word(0), range)) || (o.b != 0 && in_word(h.word(2), range)));
    Ok((is != (o.flags & INVERT != 0)).into())
}

/// The op back as a match; what that asks is the evaluator's matter in either family.
fn addrtype(o: &Op, packet: &Packet, env: &dyn Environment) -> Answer {
    let on = |flag: u8| o.flags & flag != 0;
    let m = Addrtype {
        src: o.a,
        invert_src: on(ADDRTYPE_INVERT_SRC),
        dst: o.b as u16,
        invert_dst: on(ADDRTYPE_INVERT_DST),
        limit_in: on(ADDRTYPE_LIMIT_IN),
        limit_out: on(ADDRTYPE_LIMIT_OUT),
    };
    bpftables_ruleset::eval::addrtype_holds(&m, packet, env).into()
}

fn recent(image: &Image, o: &Op, packet: &Packet, env: &mut dyn Environment) -> Result<Answer, Fault> {
    let at = line(image, o.c)?;
    let (p, mask): (RecentParams, IpAddr) = match image.family() {
        Family::V4 => {
            let mut bytes = [0; size_of::<RecentParams>()];
            bytes.copy_from_slice(&at.0[..size_of::<RecentParams>()]);
            let p: RecentParams = zerocopy::transmute!(bytes);
            (p, p.mask.to_ne_bytes().into())
        }
        Family::V6 => {
            let mut bytes = [0; size_of::<RecentParams6>()];
            bytes.copy_from_slice(&at.0[..size_of::<RecentParams6>()]);
            let RecentParams6 { seconds, hitcount, mask, op, dest, ttl, reap } = zerocopy::transmute!(bytes);
            (RecentParams { seconds, hitcount, mask: 0, op, dest, ttl, reap }, mask.into())
        }
    };
    let list = image.recent.iter().find(|list| list.id == o.b).ok_or(Fault::UnknownCode("recent list", o.b))?;
    let as_rule = Recent {
        op: match p.op {
            0 => RecentOp::Set,
            1 => RecentOp::Check,
            2 => RecentOp::Update,
            3 => RecentOp::Remove,
            other => return Err(Fault::UnknownCode("recent op", other.into())),
        },
        invert: o.flags & INVERT != 0,
        name: list.name.clone(),
        dest: p.dest == 1,
        mask,
        seconds: p.seconds,
        reap: p.reap == 1,
        hitcount: p.hitcount,
        ttl: p.ttl == 1,
    };
    let addr = if as_rule.dest { packet.daddr() } else { packet.saddr() };
    Ok(env.recent(&as_rule, addr, packet.ttl_as_received()).map_or(Answer::Hotdrop, Answer::from))
}

/// The op of the network header back as a match, which is the evaluator's matter. Link headers and sockets are no part of a packet here.
fn network(image: &Image, o: &Op, packet: &Packet) -> Result<Answer, Fault> {
    let invert = o.flags & INVERT != 0;
    let comparison = match o.a {
        0 => HopComparison::Equal,
        1 => HopComparison::NotEqual,
        2 => HopComparison::Less,
        _ => HopComparison::Greater,
    };
    let asked = |bit: u32| (o.b & bit != 0).then_some(o.c & bit != 0);
    let m = match o.op {
        op::LENGTH => Match::Length(Length { min: o.b as u16, max: (o.b >> 16) as u16, invert }),
        op::TTL => Match::Ttl(Ttl { comparison, value: o.b as u8 }),
        op::TOS => Match::Tos(Tos { value: o.b as u8, mask: o.c as u8, invert }),
        op::ECN => {
            let ect = asked(4).map(|invert| ((o.b >> 4) as u8, invert));
            Match::Ecn(Ecn { ece: asked(1), cwr: asked(2), ect })
        }
        op::IPRANGE => {
            let at = line(image, o.b)?;
            let size = if image.family() == Family::V4 { 4 } else { 16 };
            let addr = |index: usize| -> IpAddr {
                let bytes = &at.0[index * size..][..size];
                match bytes {
                    [a, b, c, d] => [*a, *b, *c, *d].into(),
                    _ => std::array::from_fn::<u8, 16, _>(|i| bytes[i]).into(),
                }
            };
            let range = |bit: u16, first| (o.a & bit != 0).then(|| (addr(first), addr(first + 1), o.a & bit << 1 != 0));
            Match::Iprange(Box::new(Iprange { source: range(1, 0), destination: range(4, 2) }))
        }
        // No packet of the interpreter's came by IPsec.
        op::POLICY => return Ok((o.a == 0).into()),
        other => return Err(Fault::UnknownCode("op of a link header or socket", other.into())),
    };
    Ok(bpftables_ruleset::eval::header_holds(&m, packet).is_some_and(|holds| holds).into())
}

fn connection(image: &Image, o: &Op, ct: &Connection) -> Result<bool, Fault> {
    let tuple = if o.a & 2 == 0 { &ct.original } else { &ct.answer };
    let dst = o.a & 1 != 0;
    Ok(match o.op {
        op::CT_PROTO => u32::from(ct.proto) == o.b,
        op::CT_ADDR => {
            let addr = if dst { tuple.dst } else { tuple.src };
            match image.family() {
                Family::V4 => same(addr, &o.c.to_ne_bytes(), &o.b.to_ne_bytes()),
                Family::V6 => {
                    let at = line(image, o.b)?;
                    same(addr, &at.0[16..32], &at.0[..16])
                }
            }
        }
        op::CT_PORT => in_word(if dst { tuple.dport } else { tuple.sport }, o.b),
        op::CT_STATUS => ct.status & u32::from(o.a) != 0,
        op::CT_EXPIRES => (o.b..=o.c).contains(&ct.expires),
        op::CT_DIR => ct.reply == (o.b == 0),
        other => return Err(Fault::UnknownCode("op", other.into())),
    })
}
