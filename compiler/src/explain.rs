//! What became of a ruleset, for people: the image's structure as text, the chains as a graph.

use crate::build::places;
use crate::error::CompileError;
use crate::image::Image;
use crate::interp::search::{fields, line, rules};
use crate::ir::{Ir, jump_of};
use crate::{Options, compile};
use bpftables_abi::image::{Chain, Field, MAX_CHAIN_RULES, chain_kind, field, field_kind, vecref};
use bpftables_ruleset::Ruleset;
use std::fmt::Write;

const FIELDS: [&str; 10] = ["saddr", "daddr", "proto", "sport", "dport", "iif", "oif", "icmp", "tcp-flags", "ctstate"];

/// One paragraph of totals, then a line for each chain that a hook reaches, with its strategy and the size of its tables.
///
/// # Errors
/// As [`compile`].
pub fn text(ruleset: &Ruleset, options: &Options) -> Result<String, CompileError> {
    let image = compile(ruleset, options)?;
    let ir = Ir::new(ruleset)?;
    let places = places(&ir, options.split.clamp(1, MAX_CHAIN_RULES));
    let broken = |fault: crate::interp::Fault| CompileError::Internal(fault.to_string().into());
    let header = image.header();
    let mut out = format!(
        "image: {} lines of 64 bytes, {} chains, {} interface classes, {} state lines, {} recent lists\n",
        header.lines,
        ir.chains.len(),
        header.iface_classes,
        image.states.len(),
        image.recent.len()
    );
    for (chain, place) in ir.chains.iter().zip(places) {
        for part in 0..place.parts {
            let at = place.chain + part;
            let descriptor: Chain = zerocopy::transmute!(line(&image, at).map_err(broken)?.0);
            let of = if place.parts > 1 { format!(" part {}/{}", part + 1, place.parts) } else { String::new() };
            let how = strategy(&image, &descriptor).map_err(broken)?;
            let (table, name) = (chain.table.name(), &chain.chain.name);
            // Writing to a string can't fail.
            let _ = writeln!(out, "{table} {name}{of}: line {at}, {} rules, {how}", descriptor.nrules);
        }
    }
    Ok(out)
}

fn strategy(image: &Image, chain: &Chain) -> Result<String, crate::interp::Fault> {
    Ok(match chain.kind {
        chain_kind::HASH => {
            let residual = rules(image, chain.residual)?.map_or(0, |list| list.len());
            format!("hash of {} buckets, {residual} residual", chain.hash_mask + 1)
        }
        chain_kind::BITVEC => {
            let tables: Vec<String> =
                fields(image, chain)?.iter().map(|f| table(image, f)).collect::<Result<_, _>>()?;
            format!("vectors by {}", tables.join(", "))
        }
        _ => "list".into(),
    })
}

fn table(image: &Image, f: &Field) -> Result<String, crate::interp::Fault> {
    let name = FIELDS[usize::from(f.what.min(field::CTSTATE))];
    Ok(match f.kind {
        field_kind::PREFIX => {
            let lens: Vec<String> = (0..32).filter(|l| f.lens >> l & 1 != 0).map(|l| (l + 1).to_string()).collect();
            format!("{name} (prefixes /{}, {} buckets)", lens.join("/"), f.mask + 1)
        }
        field_kind::PAGE16 => {
            let mut pages = 0;
            for index in 0..16 {
                let top = line(image, f.table + index)?;
                pages += (0..16).filter(|word| top.word(*word) >> vecref::TAG_SHIFT == vecref::PAGE).count();
            }
            format!("{name} ({pages} pages)")
        }
        _ => format!("{name} ({} values)", f.mask + 1),
    })
}

/// The chains that a hook reaches and their jumps, in the language of graphviz. Gotos are dashed.
///
/// # Errors
/// A jump to a chain that is not there.
pub fn dot(ruleset: &Ruleset) -> Result<String, CompileError> {
    let ir = Ir::new(ruleset)?;
    let mut out = String::from("digraph chains {\n  rankdir=LR;\n  node [shape=box];\n");
    for (index, chain) in ir.chains.iter().enumerate() {
        let shape = if chain.chain.policy.is_some() { ", style=bold" } else { "" };
        let rules = chain.chain.rules.len();
        let label = format!("{} {}\\n{rules} rules", chain.table.name(), chain.chain.name);
        let _ = writeln!(out, "  c{index} [label=\"{}\"{shape}];", label.replace('"', "\\\""));
    }
    for (index, chain) in ir.chains.iter().enumerate() {
        for (rule, to) in &chain.jumps {
            let goto = jump_of(&chain.chain.rules[*rule as usize]).is_some_and(|(_, goto)| goto);
            let style = if goto { " [style=dashed]" } else { "" };
            let _ = writeln!(out, "  c{index} -> c{}{style};", to.0);
        }
    }
    out.push_str("}\n");
    Ok(out)
}
