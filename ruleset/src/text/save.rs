//! `iptables-save` and `-S`.

use super::{Text, write_ip, write_save_mask};
use crate::addr::{AddrMatch, IfacePattern};
use crate::chain::{Chain, Policy};
use crate::counters::{CounterView, Counters};
use crate::names::builtin_protocol_name;
use crate::rule::Rule;
use crate::table::Table;
use crate::targets::Target;
use std::fmt::{self, Write};

/// How counters are printed with a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CounterStyle {
    /// Not at all.
    None,
    /// `[1:2] ` before it (`iptables-save -c`).
    Before,
    /// ` -c 1 2` before the target (`-S -v`).
    Option,
}

impl Policy {
    /// `ACCEPT` or `DROP`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accept => "ACCEPT",
            Self::Drop => "DROP",
        }
    }
}

/// A table as `iptables-save` prints it, from `*NAME` to `COMMIT`; the comments before and after are the shim's.
///
/// # Errors
/// Only those of `out`.
pub fn table(table: &Table, counters: bool, view: &dyn CounterView, out: &mut dyn Write) -> fmt::Result {
    writeln!(out, "*{}", table.kind.name())?;
    for chain in table.chains() {
        match chain.policy {
            Some(policy) => {
                let Counters { packets, bytes } = chain.counters(view);
                writeln!(out, ":{} {} [{packets}:{bytes}]", chain.name, policy.name())?;
            }
            None => writeln!(out, ":{} - [0:0]", chain.name)?,
        }
    }
    let style = if counters { CounterStyle::Before } else { CounterStyle::None };
    for chain in table.chains() {
        for rule in &chain.rules {
            write_rule(rule, &chain.name.0, style, view, out)?;
        }
    }
    out.write_str("COMMIT\n")
}

/// `-S [CHAIN [n]]`; `position` counts from 1, 0 is all. `None`: there is no such chain (nothing was written).
///
/// # Errors
/// Only those of `out`.
pub fn list_rules(
    table: &Table,
    only: Option<&str>,
    position: u32,
    counters: bool,
    view: &dyn CounterView,
    out: &mut dyn Write,
) -> Result<Option<()>, fmt::Error> {
    let chosen = || table.chains().filter(|chain| only.is_none_or(|name| name == &*chain.name.0));
    if chosen().next().is_none() {
        return Ok(None);
    }
    if position == 0 {
        for chain in chosen() {
            write_declaration(chain, counters, view, out)?;
        }
    }
    let style = if counters { CounterStyle::Option } else { CounterStyle::None };
    for chain in chosen() {
        let rules = chain.rules.iter().enumerate();
        for (_, rule) in rules.filter(|(index, _)| position == 0 || index + 1 == position as usize) {
            write_rule(rule, &chain.name.0, style, view, out)?;
        }
    }
    Ok(Some(()))
}

fn write_declaration(chain: &Chain, counters: bool, view: &dyn CounterView, out: &mut dyn Write) -> fmt::Result {
    let Some(policy) = chain.policy else { return writeln!(out, "-N {}", chain.name) };
    write!(out, "-P {} {}", chain.name, policy.name())?;
    if counters {
        let Counters { packets, bytes } = chain.counters(view);
        write!(out, " -c {packets} {bytes}")?;
    }
    out.write_char('\n')
}

fn write_address(letter: char, addr: Option<AddrMatch>, out: &mut dyn Write) -> fmt::Result {
    let Some(AddrMatch { addr, mask, invert }) = addr else { return Ok(()) };
    if mask.is_unspecified() && addr.is_unspecified() && !invert {
        return Ok(());
    }
    write!(out, "{} -{letter} ", if invert { " !" } else { "" })?;
    write_ip(addr, out)?;
    write_save_mask(mask, out)
}

fn write_interface(letter: char, pattern: Option<&IfacePattern>, out: &mut dyn Write) -> fmt::Result {
    let Some(pattern) = pattern else { return Ok(()) };
    if pattern.name.is_empty() && !pattern.invert {
        return Ok(());
    }
    let (not, plus) = (if pattern.invert { " !" } else { "" }, if pattern.wildcard { "+" } else { "" });
    write!(out, "{not} -{letter} {}{plus}", pattern.name)
}

/// One rule as a line `-A CHAIN ...`.
///
/// # Errors
/// Only those of `out`.
pub fn write_rule(
    rule: &Rule,
    chain: &str,
    style: CounterStyle,
    view: &dyn CounterView,
    out: &mut dyn Write,
) -> fmt::Result {
    let Counters { packets, bytes } =
        if style == CounterStyle::None { Counters::default() } else { rule.counters(view) };
    if style == CounterStyle::Before {
        write!(out, "[{packets}:{bytes}] ")?;
    }
    out.write_str("-A ")?;
    out.write_str(chain)?;
    write_address('s', rule.ip.src, out)?;
    write_address('d', rule.ip.dst, out)?;
    write_interface('i', rule.ip.iif.as_ref(), out)?;
    write_interface('o', rule.ip.oif.as_ref(), out)?;
    if let Some((proto, invert)) = rule.ip.proto.filter(|(proto, _)| *proto != 0) {
        out.write_str(if invert { " ! -p " } else { " -p " })?;
        match builtin_protocol_name(proto) {
            Some(name) => out.write_str(name)?,
            None => write!(out, "{proto}")?,
        }
    }
    match rule.ip.fragment {
        Some(true) => out.write_str(" ! -f")?,
        Some(false) => out.write_str(" -f")?,
        None => {}
    }
    for m in &rule.matches {
        out.write_str(" -m ")?;
        out.write_str(m.name())?;
        m.save(out)?;
    }
    if style == CounterStyle::Option {
        write!(out, " -c {packets} {bytes}")?;
    }
    match &rule.target {
        Target::None => {}
        Target::Goto(chain) => write!(out, " -g {chain}")?,
        target => {
            out.write_str(" -j ")?;
            out.write_str(target.name())?;
            target.save(out)?;
        }
    }
    out.write_char('\n')
}
