//! The ruleset with jumps resolved: chains by number, only those that a hook reaches.
//!
//! Invariants (checked by `graph::check`): every jump names a chain of the same table; the chains reached from the hooks form a DAG; no way
//! through it pushes more than `graph::MAX_DEPTH` return addresses.

use crate::error::{CompileError, RulePlace};
use bpftables_abi::image::{HOOKS, TABLES};
use bpftables_ruleset::{Chain, Hook, Rule, Ruleset, TableKind, Target};
use rustc_hash::FxHashMap;

/// A chain that some hook reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ChainId(pub(crate) u32);

impl ChainId {
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One chain.
#[derive(Debug)]
pub(crate) struct IrChain<'a> {
    pub(crate) table: TableKind,
    pub(crate) chain: &'a Chain,
    /// For each rule with -j or -g to a chain, in rule order: (rule, where to).
    pub(crate) jumps: Vec<(u32, ChainId)>,
    /// Packets come here from INPUT.
    pub(crate) input: bool,
}

impl IrChain<'_> {
    pub(crate) fn place(&self, index: usize) -> RulePlace {
        RulePlace::new(self.table, &self.chain.name.0, index, &self.chain.rules[index])
    }
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Ir<'a> {
    /// In order of discovery: a base chain, then what it reaches, breadth first.
    pub(crate) chains: Vec<IrChain<'a>>,
    /// By hook, by table.
    pub(crate) bases: [[Option<ChainId>; TABLES]; HOOKS],
}

/// The chain that a rule may go to.
pub(crate) fn jump_of(rule: &Rule) -> Option<(&str, bool)> {
    match &rule.target {
        Target::Jump(name) => Some((&name.0, false)),
        Target::Goto(name) => Some((&name.0, true)),
        _ => None,
    }
}

impl<'a> Ir<'a> {
    pub(crate) fn new(ruleset: &'a Ruleset) -> Result<Self, CompileError> {
        let mut ir = Self { chains: Vec::new(), bases: [[None; TABLES]; HOOKS] };
        for table in &ruleset.tables {
            let by_name: FxHashMap<&str, &'a Chain> =
                table.user.iter().map(|(name, chain)| (&*name.0, chain)).collect();
            let mut ids: FxHashMap<&str, ChainId> = FxHashMap::default();
            let mut next = ir.chains.len();
            for (hook, chain) in table.kind.hooks().iter().zip(&table.builtin) {
                let id = ir.add(table.kind, chain);
                ir.bases[*hook as usize][table.kind as usize] = Some(id);
            }
            while next < ir.chains.len() {
                let chain = ir.chains[next].chain;
                let mut jumps = Vec::new();
                for (index, rule) in chain.rules.iter().enumerate() {
                    let Some((name, _)) = jump_of(rule) else { continue };
                    let Some(target) = by_name.get(name) else {
                        let place = ir.chains[next].place(index);
                        return Err(CompileError::Unsupported { place, reason: "no such chain to go to".into() });
                    };
                    let id = *ids.entry(name).or_insert_with(|| ir.add(table.kind, target));
                    jumps.push((index as u32, id));
                }
                ir.chains[next].jumps = jumps;
                next += 1;
            }
        }
        ir.mark_input();
        Ok(ir)
    }

    fn mark_input(&mut self) {
        let mut todo: Vec<ChainId> = self.bases[Hook::Input as usize].iter().flatten().copied().collect();
        while let Some(id) = todo.pop() {
            let chain = &mut self.chains[id.index()];
            if !std::mem::replace(&mut chain.input, true) {
                todo.extend(chain.jumps.iter().map(|(_, to)| *to));
            }
        }
    }

    fn add(&mut self, table: TableKind, chain: &'a Chain) -> ChainId {
        self.chains.push(IrChain { table, chain, jumps: Vec::new(), input: false });
        ChainId(self.chains.len() as u32 - 1)
    }
}
