//! `-L`, and the echo of a rule that `-v` asks for.

use super::{ListContext, Text, write_list_mask};
use crate::addr::{AddrMatch, Family, IfacePattern};
use crate::chain::Chain;
use crate::counters::{CounterView, Counters};
use crate::edit::reference_counts;
use crate::names::{Names, builtin_protocol_name};
use crate::rule::Rule;
use crate::table::Table;
use crate::targets::Target;
use std::fmt::{self, Write};

/// How a listing looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `-v`: counters and devices.
    pub verbose: bool,
    /// `-n`: no names.
    pub numeric: bool,
    /// `-x`: counters in full.
    pub exact: bool,
    /// `--line-numbers`.
    pub line_numbers: bool,
}

/// `-L [CHAIN [n]]`; `position` counts from 1, 0 is all. `None`: there is no such chain (nothing was written).
///
/// # Errors
/// Only those of `out`.
pub fn list(
    table: &Table,
    only: Option<&str>,
    position: u32,
    options: Options,
    names: &dyn Names,
    view: &dyn CounterView,
    out: &mut dyn Write,
) -> Result<Option<()>, fmt::Error> {
    let references = reference_counts(table);
    let mut found = false;
    for chain in table.chains().filter(|chain| only.is_none_or(|name| name == &*chain.name.0)) {
        if found {
            out.write_char('\n')?;
        }
        found = true;
        if position == 0 {
            write_header(chain, references.get(&chain.name).copied().unwrap_or(0), options, view, out)?;
        }
        let rules = chain.rules.iter().enumerate();
        for (index, rule) in rules.filter(|(index, _)| position == 0 || index + 1 == position as usize) {
            let cx = context(rule, table.family, options.numeric, names);
            write_line(rule, index + 1, options, &cx, view, out)?;
        }
    }
    Ok(found.then_some(()))
}

fn write_header(
    chain: &Chain,
    references: u32,
    options: Options,
    view: &dyn CounterView,
    out: &mut dyn Write,
) -> fmt::Result {
    write!(out, "Chain {}", chain.name)?;
    match chain.policy {
        Some(policy) => {
            write!(out, " (policy {}", policy.name())?;
            if options.verbose {
                let Counters { packets, bytes } = chain.counters(view);
                out.write_char(' ')?;
                write_number(packets, options.exact, 0, out)?;
                out.write_str("packets, ")?;
                write_number(bytes, options.exact, 0, out)?;
                out.write_str("bytes")?;
            }
            out.write_str(")\n")?;
        }
        None => writeln!(out, " ({references} references)")?,
    }
    if options.line_numbers {
        write!(out, "{:<4} ", "num")?;
    }
    if options.verbose {
        let (packets, bytes) = if options.exact { (8, 10) } else { (5, 5) };
        write!(out, "{:>packets$} {:>bytes$} ", "pkts", "bytes")?;
    }
    write!(out, "{:<9}  prot opt", "target")?;
    if options.verbose {
        write!(out, " {:<6} {:<6} ", "in", "out")?;
    }
    writeln!(out, " {:<19}  {:<19} ", "source", "destination")
}

/// A counter in `width` columns and a space: in full up to 99999, or with `exact`; else in thousands, millions, ...
fn write_number(number: u64, exact: bool, width: usize, out: &mut dyn Write) -> fmt::Result {
    if exact {
        let width = if width == 0 { 0 } else { 8 };
        return write!(out, "{number:>width$} ");
    }
    if number <= 99_999 {
        return write!(out, "{number:>width$} ");
    }
    let width = width.saturating_sub(1);
    let mut number = number;
    for unit in ['K', 'M', 'G'] {
        number = number.wrapping_add(500) / 1000;
        if number <= 9999 {
            return write!(out, "{number:>width$}{unit} ");
        }
    }
    number = number.wrapping_add(500) / 1000;
    write!(out, "{number:>width$}T ")
}

fn address(addr: Option<AddrMatch>, cx: &ListContext<'_>) -> Result<String, fmt::Error> {
    let any = cx.family.unspecified();
    let (addr, mask) = addr.map_or((any, any), |asked| (asked.addr, asked.mask));
    let mut text = String::new();
    // Legacy looks at the mask in IPv4, at the address in IPv6.
    let anywhere = match cx.family {
        Family::V4 => mask.is_unspecified(),
        Family::V6 => addr.is_unspecified(),
    };
    if anywhere && !cx.numeric {
        text.push_str("anywhere");
        return Ok(text);
    }
    cx.write_address(addr, &mut text)?;
    write_list_mask(mask, &mut text)?;
    Ok(text)
}

fn interface(pattern: Option<&IfacePattern>, any: &str) -> String {
    match pattern {
        None => any.to_owned(),
        Some(IfacePattern { name, wildcard, invert }) => {
            format!("{}{name}{}", if *invert { "!" } else { "" }, if *wildcard { "+" } else { "" })
        }
    }
}

fn protocol(cx: &ListContext<'_>) -> String {
    let number = cx.protocol;
    builtin_protocol_name(number)
        .map(str::to_owned)
        .or_else(|| if cx.numeric { None } else { cx.names.protocol_name(number) })
        .unwrap_or_else(|| number.to_string())
}

fn not(addr: Option<AddrMatch>) -> char {
    if addr.is_some_and(|addr| addr.invert) { '!' } else { ' ' }
}

const fn fragment(rule: &Rule) -> &'static str {
    match rule.ip.fragment {
        None => "--",
        Some(false) => "-f",
        Some(true) => "!f",
    }
}

fn write_extensions(rule: &Rule, cx: &ListContext<'_>, out: &mut dyn Write) -> fmt::Result {
    if let Target::Goto(_) = rule.target {
        out.write_str("[goto] ")?;
    }
    for m in &rule.matches {
        m.list(cx, out)?;
    }
    rule.target.list(cx, out)?;
    out.write_char('\n')
}

fn context<'a>(rule: &Rule, family: Family, numeric: bool, names: &'a dyn Names) -> ListContext<'a> {
    ListContext { family, numeric, names, protocol: rule.ip.proto.map_or(0, |(number, _)| number) }
}

fn write_line(
    rule: &Rule,
    number: usize,
    options: Options,
    cx: &ListContext<'_>,
    view: &dyn CounterView,
    out: &mut dyn Write,
) -> fmt::Result {
    if options.line_numbers {
        write!(out, "{number:<4} ")?;
    }
    if options.verbose {
        let Counters { packets, bytes } = rule.counters(view);
        write_number(packets, options.exact, 5, out)?;
        write_number(bytes, options.exact, 5, out)?;
    }
    let proto_not = if rule.ip.proto.is_some_and(|(_, invert)| invert) { '!' } else { ' ' };
    write!(out, "{:<9} {proto_not}{:<4} {} ", rule.target.kernel_name(), protocol(cx), fragment(rule))?;
    if options.verbose {
        let any = if options.numeric { "*" } else { "any" };
        let (iif, oif) = (interface(rule.ip.iif.as_ref(), any), interface(rule.ip.oif.as_ref(), any));
        write!(out, " {iif:<6} {oif:<6} ")?;
    }
    write!(out, "{}{:<19} ", not(rule.ip.src), address(rule.ip.src, cx)?)?;
    write!(out, "{}{:<19} ", not(rule.ip.dst), address(rule.ip.dst, cx)?)?;
    write_extensions(rule, cx, out)
}

/// The line that `-v` prints of a rule being added, deleted or checked.
///
/// # Errors
/// Only those of `out`.
pub fn echo(rule: &Rule, family: Family, names: &dyn Names, out: &mut dyn Write) -> fmt::Result {
    let cx = context(rule, family, true, names);
    let proto_not = if rule.ip.proto.is_some_and(|(_, invert)| invert) { '!' } else { ' ' };
    write!(out, "{} {proto_not}{} opt {} ", rule.target.kernel_name(), protocol(&cx), fragment(rule))?;
    let (iif, oif) = (interface(rule.ip.iif.as_ref(), "*"), interface(rule.ip.oif.as_ref(), "*"));
    write!(out, "in {iif} out {oif} ")?;
    write!(out, "{}{} ", not(rule.ip.src), address(rule.ip.src, &cx)?)?;
    write!(out, "{}-> {}  ", not(rule.ip.dst), address(rule.ip.dst, &cx)?)?;
    write_extensions(rule, &cx, out)
}
