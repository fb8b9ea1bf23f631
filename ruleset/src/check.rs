//! What the kernel refuses when a table is committed: loops, and matches and targets where they must not be.
//!
//! The order of the checks is the kernel's (`translate_table`): loops first, then rule by rule, matches before the target; the first thing
//! found is the one reported.

use crate::addr::Family;
use crate::chain::{Chain, ChainName};
use crate::rule::Rule;
use crate::table::{Hook, Table, TableKind};
use crate::targets::{ConnmarkSet, RejectWith, Target};
use rustc_hash::FxHashMap;

/// How many jumps may be nested. Legacy has no such limit; nf_tables and bpftables do.
pub const MAX_DEPTH: u32 = 16;

/// Why a table cannot be committed. `Display` is legacy's text after `iptables: ` (the full stop is the shim's), exit code 1;
/// [`CheckError::detail`] says more than legacy does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// A chain that can be reached from a hook comes back to itself.
    #[error("Too many levels of symbolic links")]
    Loop {
        /// The chain with the jump that closes the loop.
        chain: ChainName,
    },
    /// A jump to a chain that is not there (an edit refuses that, so the table came from elsewhere).
    #[error("No chain/target/match by that name")]
    NoSuchChain {
        /// The chain with the jump.
        chain: ChainName,
    },
    /// A match or target where it must not be, or with values that it must not have.
    #[error("Invalid argument")]
    Invalid {
        /// The rule's chain.
        chain: ChainName,
        /// The rule's number, from 1.
        rule: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// A rate that is too low for its burst.
    #[error("Numerical result out of range")]
    Range {
        /// The rule's chain.
        chain: ChainName,
        /// The rule's number, from 1.
        rule: usize,
    },
    /// A value that is larger than others allow.
    #[error("Numerical argument out of domain")]
    Domain {
        /// The rule's chain.
        chain: ChainName,
        /// The rule's number, from 1.
        rule: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// Something that a match or target names, and that there is not.
    #[error("No chain/target/match by that name")]
    Missing {
        /// The rule's chain.
        chain: ChainName,
        /// The rule's number, from 1.
        rule: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// More nested jumps than [`MAX_DEPTH`].
    #[error("jumps are nested more than 16 deep (chain {chain}), which bpftables does not support")]
    TooDeep {
        /// The built-in chain from which they go.
        chain: ChainName,
    },
}

impl CheckError {
    /// Legacy's errno is EINVAL: "Run `dmesg' for more information." follows the full stop.
    #[must_use]
    pub const fn is_invalid_argument(&self) -> bool {
        matches!(self, Self::Invalid { .. })
    }

    /// Where and why, for logs.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::Loop { chain } => format!("chain {chain} comes back to itself"),
            Self::NoSuchChain { chain } => format!("chain {chain} jumps to a chain that does not exist"),
            Self::Invalid { chain, rule, reason }
            | Self::Domain { chain, rule, reason }
            | Self::Missing { chain, rule, reason } => {
                format!("chain {chain}, rule {rule}: {reason}")
            }
            Self::Range { chain, rule } => format!("chain {chain}, rule {rule}: limit overflows, try a lower burst"),
            Self::TooDeep { .. } => self.to_string(),
        }
    }
}

/// Hooks as bits by [`Hook`]'s number.
pub(crate) type HookMask = u8;

const fn bit(hook: Hook) -> HookMask {
    1 << hook as u8
}

pub(crate) const PRE: HookMask = bit(Hook::Prerouting);
pub(crate) const IN: HookMask = bit(Hook::Input);
pub(crate) const FWD: HookMask = bit(Hook::Forward);
pub(crate) const OUT: HookMask = bit(Hook::Output);
pub(crate) const POST: HookMask = bit(Hook::Postrouting);

/// Checks a table as the kernel does at commit.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(table: &Table) -> Result<(), CheckError> {
    let mut walk = Walk::new(table);
    for (index, hook) in table.kind.hooks().iter().enumerate() {
        let depth = walk.from(index, *hook)?;
        if depth > MAX_DEPTH {
            return Err(CheckError::TooDeep { chain: walk.chains[index].name.clone() });
        }
    }
    for (index, chain) in walk.chains.iter().enumerate() {
        let seen = walk.seen[index];
        let reached = walk.reached[index];
        for (number, rule) in chain.rules.iter().enumerate() {
            // The kernel's walk does not come to what stands after an unconditional verdict.
            let hooks = if number < reached { seen } else { 0 };
            check_rule(rule, table.family, table.kind, hooks).map_err(|problem| match problem {
                Problem::Invalid(reason) => CheckError::Invalid { chain: chain.name.clone(), rule: number + 1, reason },
                Problem::Range => CheckError::Range { chain: chain.name.clone(), rule: number + 1 },
                Problem::Missing(reason) => CheckError::Missing { chain: chain.name.clone(), rule: number + 1, reason },
                Problem::Domain(reason) => CheckError::Domain { chain: chain.name.clone(), rule: number + 1, reason },
            })?;
        }
    }
    Ok(())
}

/// No condition at all, and a verdict: nothing after it in the chain is reached.
#[must_use]
pub fn ends_chain(rule: &Rule) -> bool {
    let verdict = matches!(rule.target, Target::Accept | Target::Drop | Target::Return);
    let ip = &rule.ip;
    let no_condition = ip.src.is_none()
        && ip.dst.is_none()
        && ip.iif.is_none()
        && ip.oif.is_none()
        && ip.proto.is_none()
        && ip.fragment.is_none();
    verdict && no_condition && rule.matches.is_empty()
}

/// The walk over the chains from each hook.
struct Walk<'a> {
    chains: Vec<&'a Chain>,
    /// For each chain the jumps that are reached: the chain jumped to, and whether it comes back.
    jumps: Vec<Vec<(usize, bool)>>,
    /// How many rules of each chain the walk comes to.
    reached: Vec<usize>,
    /// The hooks from which each chain was reached.
    seen: Vec<HookMask>,
    /// Nested jumps below a chain, once known.
    depth: Vec<Option<u32>>,
    on_path: Vec<bool>,
}

impl<'a> Walk<'a> {
    fn new(table: &'a Table) -> Self {
        let chains: Vec<&Chain> = table.chains().collect();
        let index: FxHashMap<&str, usize> =
            chains.iter().enumerate().map(|(index, chain)| (&*chain.name.0, index)).collect();
        let mut jumps = Vec::with_capacity(chains.len());
        let mut reached = Vec::with_capacity(chains.len());
        for chain in &chains {
            let end = chain.rules.iter().position(ends_chain).map_or(chain.rules.len(), |end| end + 1);
            let targets = chain.rules[..end].iter().filter_map(|rule| match &rule.target {
                Target::Jump(to) => Some((index.get(&*to.0).copied().unwrap_or(usize::MAX), true)),
                Target::Goto(to) => Some((index.get(&*to.0).copied().unwrap_or(usize::MAX), false)),
                _ => None,
            });
            jumps.push(targets.collect());
            reached.push(end);
        }
        let count = chains.len();
        Self { chains, jumps, reached, seen: vec![0; count], depth: vec![None; count], on_path: vec![false; count] }
    }

    /// Walks from a built-in chain without recursion; the depth of jumps below it.
    fn from(&mut self, start: usize, hook: Hook) -> Result<u32, CheckError> {
        let bit = bit(hook);
        // Chain, next jump, depth so far.
        let mut path: Vec<(usize, usize, u32)> = vec![(start, 0, 0)];
        self.seen[start] |= bit;
        self.on_path[start] = true;
        while let Some((chain, next, depth)) = path.last().copied() {
            let Some(&(to, comes_back)) = self.jumps[chain].get(next) else {
                self.depth[chain] = Some(depth);
                self.on_path[chain] = false;
                path.pop();
                // The jump that led here is looked at again, now that the depth is known.
                continue;
            };
            if to == usize::MAX {
                return Err(CheckError::NoSuchChain { chain: self.chains[chain].name.clone() });
            }
            if self.on_path[to] {
                return Err(CheckError::Loop { chain: self.chains[chain].name.clone() });
            }
            match self.depth[to] {
                Some(below) if self.seen[to] & bit != 0 => {
                    let below = below + u32::from(comes_back);
                    if let Some(last) = path.last_mut() {
                        last.1 += 1;
                        last.2 = depth.max(below);
                    }
                }
                _ => {
                    self.seen[to] |= bit;
                    self.on_path[to] = true;
                    path.push((to, 0, 0));
                }
            }
        }
        Ok(self.depth[start].unwrap_or(0))
    }
}

/// Why the kernel refuses a match or target, by the errno that it gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// `EINVAL`.
    Invalid(&'static str),
    /// `ERANGE`.
    Range,
    /// `EDOM`.
    Domain(&'static str),
    /// `ENOENT`.
    Missing(&'static str),
}

/// Where a rule stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Its family.
    pub(crate) family: Family,
    /// Its `-p`.
    pub(crate) protocol: Option<(u8, bool)>,
    /// Its table.
    pub(crate) table: TableKind,
    /// The hooks from which its chain can be reached.
    pub(crate) hooks: HookMask,
}

impl Place {
    /// It needs `-p` with this protocol, and not after `!`.
    pub(crate) fn needs_protocol(self, protocol: u8, reason: &'static str) -> Result<(), Problem> {
        need(self.protocol == Some((protocol, false)), reason)
    }

    /// It stands in one of these tables.
    pub(crate) fn in_tables(self, tables: &[TableKind], reason: &'static str) -> Result<(), Problem> {
        need(tables.contains(&self.table), reason)
    }

    /// It must not be reached from other hooks than these.
    pub(crate) fn only_hooks(self, allowed: HookMask, reason: &'static str) -> Result<(), Problem> {
        need(self.hooks & !allowed == 0, reason)
    }
}

/// Whether all rules of a chain may stand where these hooks lead (bits by [`Hook`]'s number). What may stand there with some hooks may
/// stand there with fewer of them.
#[must_use]
pub fn may_stand(chain: &Chain, family: Family, table: TableKind, hooks: u8) -> bool {
    chain.rules.iter().all(|rule| check_rule(rule, family, table, hooks).is_ok())
}

fn check_rule(rule: &Rule, family: Family, table: TableKind, hooks: HookMask) -> Result<(), Problem> {
    let protocol = rule.ip.proto;
    let place = Place { family, protocol, table, hooks };
    rule.matches.iter().try_for_each(|m| m.check(place))?;
    if let Some(target) = rule.target.kind() {
        return target.check(place, rule);
    }
    check_target(&rule.target, protocol, table, hooks)
}

/// `EINVAL` unless the condition holds.
pub(crate) fn need(condition: bool, reason: &'static str) -> Result<(), Problem> {
    if condition { Ok(()) } else { Err(Problem::Invalid(reason)) }
}

fn check_target(
    target: &Target,
    protocol: Option<(u8, bool)>,
    table: TableKind,
    hooks: HookMask,
) -> Result<(), Problem> {
    let (home, allowed, reason) = match target {
        Target::Reject(_) => (TableKind::Filter, IN | FWD | OUT, "REJECT belongs in filter's chains"),
        Target::Dnat(_) => (TableKind::Nat, PRE | OUT, "DNAT belongs in nat's PREROUTING and OUTPUT"),
        Target::Redirect(_) => (TableKind::Nat, PRE | OUT, "REDIRECT belongs in nat's PREROUTING and OUTPUT"),
        Target::Snat(_) => (TableKind::Nat, POST | IN, "SNAT belongs in nat's POSTROUTING and INPUT"),
        Target::Masquerade(_) => (TableKind::Nat, POST, "MASQUERADE belongs in nat's POSTROUTING"),
        Target::Netmap(_) => (TableKind::Nat, PRE | POST | OUT | IN, "NETMAP belongs in the nat table"),
        Target::Notrack => (TableKind::Raw, PRE | OUT, "CT belongs in the raw table"),
        Target::Connmark(ConnmarkSet::Shifted { bits: 32.., .. }) => {
            return Err(Problem::Invalid("a mark of 32 bits is shifted by less"));
        }
        Target::None
        | Target::Accept
        | Target::Drop
        | Target::Return
        | Target::Jump(_)
        | Target::Goto(_)
        | Target::Mark(_)
        | Target::Connmark(_) => return Ok(()),
        // Those of the table say themselves what they need.
        _ => return Ok(()),
    };
    need(table == home && hooks & !allowed == 0, reason)?;
    match target {
        Target::Reject(RejectWith::TcpReset) => {
            need(protocol == Some((6, false)), "--reject-with tcp-reset needs -p tcp")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edit::Editor;
    use crate::rule::IpMatch;

    fn table(kind: TableKind, rules: &[(&str, Target)]) -> Table {
        let mut table = Table::new(Family::V4, kind);
        let mut editor = Editor::new(&mut table);
        for (chain, target) in rules {
            for name in
                [Some(*chain), Some(target.name()).filter(|_| matches!(target, Target::Jump(_) | Target::Goto(_)))]
            {
                if let Some(name) = name
                    && !editor.is_chain(name)
                {
                    assert_eq!(editor.new_chain(name), Ok(()));
                }
            }
            let rule = Rule::new(IpMatch::default(), vec![], target.clone());
            assert_eq!(editor.append(chain, rule), Ok(()));
        }
        drop(editor);
        table
    }

    fn jump(to: &str) -> Target {
        Target::Jump(to.into())
    }

    #[test]
    fn a_loop_is_refused_only_once_a_hook_reaches_it() {
        let rules = [("A", jump("B")), ("B", Target::Goto("A".into()))];
        assert_eq!(check(&table(TableKind::Filter, &rules)), Ok(()));
        let rules = [("A", jump("B")), ("B", Target::Goto("A".into())), ("INPUT", jump("A"))];
        assert_eq!(check(&table(TableKind::Filter, &rules)), Err(CheckError::Loop { chain: "B".into() }));
    }

    #[test]
    fn what_stands_after_an_unconditional_verdict_is_not_walked() {
        let rules = [("A", Target::Return), ("A", jump("A")), ("INPUT", jump("A"))];
        assert_eq!(check(&table(TableKind::Filter, &rules)), Ok(()));
    }

    #[test]
    fn sixteen_nested_jumps_pass_and_seventeen_do_not() {
        let names: Vec<String> = (1..=17).map(|n| format!("C{n}")).collect();
        let mut rules = vec![("INPUT", jump("C1"))];
        for pair in names.windows(2).take(15) {
            rules.push((&pair[0], jump(&pair[1])));
        }
        assert_eq!(check(&table(TableKind::Filter, &rules)), Ok(()));
        rules.push(("C16", Target::Goto("C17".into())));
        assert_eq!(check(&table(TableKind::Filter, &rules)), Ok(()), "a goto does not nest");
        rules.push(("C16", jump("C17")));
        assert_eq!(check(&table(TableKind::Filter, &rules)), Err(CheckError::TooDeep { chain: "INPUT".into() }));
    }

    #[test]
    fn a_shared_chain_is_held_to_every_hook_that_reaches_it() {
        let masquerade = Target::Masquerade(crate::targets::Masquerade {
            ports: None,
            shifted: false,
            random: false,
            random_fully: false,
        });
        let rules = [("A", masquerade.clone()), ("POSTROUTING", jump("A"))];
        assert_eq!(check(&table(TableKind::Nat, &rules)), Ok(()));
        let rules = [("A", masquerade), ("POSTROUTING", jump("A")), ("OUTPUT", jump("A"))];
        assert!(check(&table(TableKind::Nat, &rules)).is_err_and(|error| error.is_invalid_argument()));
    }
}
