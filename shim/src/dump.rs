//! What `-v -v` prints: the table as legacy's kernel would have it, entry by entry, with the offsets and sizes that legacy's structures have.
//!
//! Nothing here is laid out so. The sizes are those that 1.8.11's own dump gives for each match and target on a 64-bit machine.

use bpftables_ruleset::{
    AddrMatch, Chain, CounterView, Counters, Family, Hook, IfacePattern, Match, Rule, Table, Target,
};
use bpftables_ruleset::{Policy, text::write_ip};
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::net::IpAddr;

/// A target that is a verdict or a jump; every entry has at least that.
const STANDARD: usize = 40;
/// The entry before a user's chain, and the last one: a target with a name in it.
const ERROR: usize = 64;
/// The length of a device's name.
const DEVICE: usize = 16;

/// Matches whose size is not 40.
const MATCHES: &[(&str, usize)] = &[
    ("ah", 48),
    ("bpf", 560),
    ("cgroup", 560),
    ("cluster", 48),
    ("comment", 288),
    ("connbytes", 56),
    ("connlimit", 64),
    ("connmark", 48),
    ("conntrack", 200),
    ("dccp", 48),
    ("devgroup", 56),
    ("dst", 72),
    ("esp", 48),
    ("frag", 48),
    ("hashlimit", 344),
    ("hbh", 72),
    ("helper", 72),
    ("ipcomp", 48),
    ("iprange", 104),
    ("limit", 72),
    ("mac", 48),
    ("mark", 48),
    ("multiport", 80),
    ("osf", 80),
    ("owner", 56),
    ("physdev", 104),
    ("policy", 344),
    ("quota", 56),
    ("realm", 48),
    ("recent", 264),
    ("rt", 312),
    ("sctp", 328),
    ("set", 80),
    ("srh", 144),
    ("state", 200),
    ("statistic", 56),
    ("string", 192),
    ("tcp", 48),
    ("time", 56),
    ("u32", 2016),
    ("udp", 48),
];

/// Targets whose size is not 40, in IPv4 and IPv6.
const TARGETS: &[(&str, usize, usize)] = &[
    ("CONNMARK", 48, 48),
    ("CT", 104, 104),
    ("DNAT", 80, 80),
    ("DNPT", 72, 72),
    ("HMARK", 96, 96),
    ("IDLETIMER", 80, 80),
    ("LOG", 64, 64),
    ("MASQUERADE", 56, 72),
    ("NETMAP", 56, 72),
    ("NFLOG", 112, 112),
    ("RATEEST", 64, 64),
    ("REDIRECT", 56, 72),
    ("SET", 56, 56),
    ("SNAT", 56, 72),
    ("SNPT", 72, 72),
    ("TCPOPTSTRIP", 64, 64),
    ("TEE", 72, 72),
    ("TPROXY", 64, 64),
    ("TRACE", 32, 32),
];

fn match_size(m: &Match) -> usize {
    MATCHES.iter().find(|(name, _)| *name == m.name()).map_or(40, |(_, size)| *size)
}

/// The name that the kernel knows a match by.
fn match_name(m: &Match) -> &str {
    if m.name() == "state" { "conntrack" } else { m.name() }
}

/// A verdict, a jump, or none.
const fn is_standard(target: &Target) -> bool {
    matches!(
        target,
        Target::None
            | Target::Accept
            | Target::Drop
            | Target::Return
            | Target::Queue(_)
            | Target::Jump(_)
            | Target::Goto(_)
    )
}

/// Where everything is.
struct Layout<'t> {
    table: &'t Table,
    family: Family,
    view: &'t dyn CounterView,
    /// The first rule of each chain.
    starts: BTreeMap<&'t str, usize>,
    /// The policy of each built-in chain.
    policies: BTreeMap<&'t str, usize>,
    size: usize,
}

impl<'t> Layout<'t> {
    fn new(table: &'t Table, family: Family, view: &'t dyn CounterView) -> Self {
        let (starts, policies) = (BTreeMap::default(), BTreeMap::default());
        let mut layout = Self { table, family, view, starts, policies, size: 0 };
        let mut at = 0;
        for chain in table.chains() {
            if chain.policy.is_none() {
                at += layout.entry() + ERROR;
            }
            layout.starts.insert(&chain.name.0, at);
            at += chain.rules.iter().map(|rule| layout.rule_size(rule)).sum::<usize>();
            if chain.policy.is_some() {
                layout.policies.insert(&chain.name.0, at);
            }
            at += layout.entry() + STANDARD;
        }
        layout.size = at + layout.entry() + ERROR;
        layout
    }

    /// An entry without matches and target.
    const fn entry(&self) -> usize {
        match self.family {
            Family::V4 => 112,
            Family::V6 => 168,
        }
    }

    fn target_size(&self, target: &Target) -> usize {
        let name = if is_standard(target) { "" } else { target.kernel_name() };
        let found = TARGETS.iter().find(|(known, ..)| *known == name);
        found.map_or(STANDARD, |(_, v4, v6)| if self.family == Family::V4 { *v4 } else { *v6 })
    }

    fn rule_size(&self, rule: &Rule) -> usize {
        self.entry() + rule.matches.iter().map(match_size).sum::<usize>() + self.target_size(&rule.target)
    }

    fn hooks(&self, label: &str, of: &BTreeMap<&str, usize>, out: &mut dyn Write) -> fmt::Result {
        write!(out, "{label}: pre/in/fwd/out/post = ")?;
        for (index, hook) in Hook::ALL.into_iter().enumerate() {
            let at = of.get(hook.chain_name()).map_or(u32::MAX as usize, |at| *at);
            write!(out, "{}{at:x}", if index == 0 { "" } else { "/" })?;
        }
        out.write_char('\n')
    }

    fn all(&self, out: &mut dyn Write) -> fmt::Result {
        writeln!(out, "libiptc vlibxtables.so.12. {} bytes.", self.size)?;
        writeln!(out, "Table `{}'", self.table.kind.name())?;
        self.hooks("Hooks", &self.starts, out)?;
        self.hooks("Underflows", &self.policies, out)?;
        let mut place = (0, 0);
        for chain in self.table.chains() {
            self.chain(chain, &mut place, out)?;
        }
        self.error("ERROR", &mut place, out)
    }

    fn chain(&self, chain: &Chain, place: &mut (usize, usize), out: &mut dyn Write) -> fmt::Result {
        if chain.policy.is_none() {
            self.error(&chain.name.0, place, out)?;
        }
        for rule in &chain.rules {
            let size = self.rule_size(rule);
            self.begin(rule, rule.counters(self.view), place, size, out)?;
            for m in &rule.matches {
                writeln!(out, "Match name: `{}'", match_name(m))?;
            }
            let name = if is_standard(&rule.target) { "" } else { rule.target.kernel_name() };
            writeln!(out, "Target name: `{name}' [{}]", self.target_size(&rule.target))?;
            let offset = |chain: &str| self.starts.get(chain).copied().unwrap_or(0);
            match &rule.target {
                Target::None => writeln!(out, "verdict={}", place.1)?,
                Target::Accept => writeln!(out, "verdict=NF_ACCEPT")?,
                Target::Drop => writeln!(out, "verdict=NF_DROP")?,
                Target::Return => writeln!(out, "verdict=RETURN")?,
                Target::Queue(_) if self.family == Family::V4 => writeln!(out, "verdict=NF_QUEUE")?,
                Target::Queue(_) => writeln!(out, "verdict=UNKNOWN")?,
                Target::Jump(chain) | Target::Goto(chain) => writeln!(out, "verdict={}", offset(&chain.0))?,
                _ => {}
            }
            out.write_char('\n')?;
        }
        let (verdict, counters) = match chain.policy {
            Some(Policy::Accept) => ("NF_ACCEPT", chain.counters(self.view)),
            Some(Policy::Drop) => ("NF_DROP", chain.counters(self.view)),
            None => ("RETURN", Counters::default()),
        };
        self.plain(counters, place, STANDARD, out)?;
        write!(out, "Target name: `' [{STANDARD}]\nverdict={verdict}\n\n")
    }

    /// The entry that bears a name.
    fn error(&self, name: &str, place: &mut (usize, usize), out: &mut dyn Write) -> fmt::Result {
        self.plain(Counters::default(), place, ERROR, out)?;
        write!(out, "Target name: `ERROR' [{ERROR}]\nerror=`{name}'\n\n")
    }

    /// An entry without conditions, up to its target.
    fn plain(&self, counters: Counters, place: &mut (usize, usize), target: usize, out: &mut dyn Write) -> fmt::Result {
        let rule = Rule::new(Default::default(), Vec::new(), Target::None);
        self.begin(&rule, counters, place, self.entry() + target, out)
    }

    /// An entry up to its matches. Moves on behind it.
    fn begin(
        &self,
        rule: &Rule,
        counters: Counters,
        place: &mut (usize, usize),
        size: usize,
        out: &mut dyn Write,
    ) -> fmt::Result {
        let ip = &rule.ip;
        writeln!(out, "Entry {} ({}):", place.0, place.1)?;
        *place = (place.0 + 1, place.1 + size);
        self.address("SRC", ip.src, out)?;
        self.address("DST", ip.dst, out)?;
        out.write_str("Interface: ")?;
        device(ip.iif.as_ref(), out)?;
        out.write_str("to ")?;
        device(ip.oif.as_ref(), out)?;
        writeln!(out, "\nProtocol: {}", ip.proto.map_or(0, |(number, _)| number))?;
        let bit = |is: bool, bit: u8| if is { bit } else { 0 };
        let goto = matches!(rule.target, Target::Goto(_));
        let flags = match self.family {
            Family::V4 => bit(ip.fragment.is_some(), 1) | bit(goto, 2),
            Family::V6 => bit(ip.proto.is_some(), 1) | bit(goto, 4),
        };
        let inverted = bit(ip.iif.as_ref().is_some_and(|iif| iif.invert), 1)
            | bit(ip.oif.as_ref().is_some_and(|oif| oif.invert), 2)
            | bit(ip.src.is_some_and(|src| src.invert), 8)
            | bit(ip.dst.is_some_and(|dst| dst.invert), 0x10)
            | bit(ip.fragment == Some(true), 0x20)
            | bit(ip.proto.is_some_and(|(_, invert)| invert), 0x40);
        writeln!(out, "Flags: {flags:02X}\nInvflags: {inverted:02X}")?;
        writeln!(out, "Counters: {} packets, {} bytes\nCache: 00000000", counters.packets, counters.bytes)
    }

    fn address(&self, label: &str, given: Option<AddrMatch>, out: &mut dyn Write) -> fmt::Result {
        let any = AddrMatch { addr: self.family.unspecified(), mask: self.family.unspecified(), invert: false };
        match given.map_or((any.addr, any.mask), |given| (given.addr, given.mask)) {
            (IpAddr::V6(addr), IpAddr::V6(mask)) => {
                // Legacy ends the line after each part.
                writeln!(out, "{label} IP: ")?;
                write_ip(addr.into(), out)?;
                out.write_str("\n/")?;
                let bits = mask.to_bits();
                if bits.leading_ones() == bits.count_ones() {
                    return writeln!(out, "{}", bits.leading_ones());
                }
                write_ip(mask.into(), out)?;
                out.write_str("\n\n")
            }
            (addr, mask) => writeln!(out, "{label} IP: {addr}/{mask}"),
        }
    }
}

/// A device's name, and the part of it that is compared.
fn device(pattern: Option<&IfacePattern>, out: &mut dyn Write) -> fmt::Result {
    let (name, plus, compared) = match pattern {
        None => ("", "", 0),
        Some(p) if p.wildcard => (&*p.name, "+", p.name.len()),
        Some(p) => (&*p.name, "", p.name.len() + 1),
    };
    write!(out, "`{name}{plus}'/{:.<DEVICE$}", "X".repeat(compared.min(DEVICE)))
}

/// Writes the dump of a table.
pub(crate) fn dump(table: &Table, family: Family, view: &dyn CounterView, out: &mut dyn Write) -> fmt::Result {
    Layout::new(table, family, view).all(out)
}
