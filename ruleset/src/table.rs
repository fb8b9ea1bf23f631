//! Tables, hooks and the whole ruleset of one family.

use crate::addr::Family;
use crate::chain::{Chain, ChainName, Policy};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The five hooks, numbered as netfilter numbers them (`enum nf_inet_hooks`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u8)]
pub enum Hook {
    /// Before routing.
    Prerouting = 0,
    /// To a local socket.
    Input = 1,
    /// From one device to another.
    Forward = 2,
    /// Locally made.
    Output = 3,
    /// About to leave.
    Postrouting = 4,
}

impl Hook {
    /// All, in netfilter's order of numbers.
    pub const ALL: [Self; 5] = [Self::Prerouting, Self::Input, Self::Forward, Self::Output, Self::Postrouting];

    /// The name of the built-in chain on this hook.
    #[must_use]
    pub const fn chain_name(self) -> &'static str {
        match self {
            Self::Prerouting => "PREROUTING",
            Self::Input => "INPUT",
            Self::Forward => "FORWARD",
            Self::Output => "OUTPUT",
            Self::Postrouting => "POSTROUTING",
        }
    }
}

/// The five tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u8)]
pub enum TableKind {
    /// Before conntrack.
    Raw = 0,
    /// Packet alteration.
    Mangle = 1,
    /// Address translation, asked for a connection's first packet.
    Nat = 2,
    /// The default table.
    Filter = 3,
    /// Mandatory access control.
    Security = 4,
}

impl TableKind {
    /// All five.
    pub const ALL: [Self; 5] = [Self::Raw, Self::Mangle, Self::Nat, Self::Filter, Self::Security];

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Mangle => "mangle",
            Self::Nat => "nat",
            Self::Filter => "filter",
            Self::Security => "security",
        }
    }

    /// By its name on the command line.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The hooks on which the table has a built-in chain, in the order in which legacy lists them.
    #[must_use]
    pub const fn hooks(self) -> &'static [Hook] {
        match self {
            Self::Raw => &[Hook::Prerouting, Hook::Output],
            Self::Mangle => &Hook::ALL,
            Self::Nat => &[Hook::Prerouting, Hook::Input, Hook::Output, Hook::Postrouting],
            Self::Filter | Self::Security => &[Hook::Input, Hook::Forward, Hook::Output],
        }
    }
}

/// One table: its built-in chains in hook order, the user's by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// The family whose packets it meets.
    pub family: Family,
    /// Which one.
    pub kind: TableKind,
    /// The built-in chains, one for each of `kind.hooks()`, in that order.
    pub builtin: Vec<Chain>,
    /// The user's chains, sorted by name as legacy prints them.
    pub user: BTreeMap<ChainName, Chain>,
}

impl Table {
    /// The table as the kernel makes it: empty chains with policy ACCEPT.
    #[must_use]
    pub fn new(family: Family, kind: TableKind) -> Self {
        let builtin =
            kind.hooks().iter().map(|hook| Chain::new(hook.chain_name().into(), Some(Policy::Accept))).collect();
        Self { family, kind, builtin, user: BTreeMap::new() }
    }

    /// A chain by name, built-in or user's.
    #[must_use]
    pub fn chain(&self, name: &str) -> Option<&Chain> {
        self.builtin.iter().find(|chain| &*chain.name.0 == name).or_else(|| self.user.get(name))
    }

    /// A chain by name, to change.
    pub fn chain_mut(&mut self, name: &str) -> Option<&mut Chain> {
        match self.builtin.iter_mut().find(|chain| &*chain.name.0 == name) {
            Some(chain) => Some(chain),
            None => self.user.get_mut(name),
        }
    }

    /// The built-in chain on `hook`, if the table has one there.
    #[must_use]
    pub fn base(&self, hook: Hook) -> Option<&Chain> {
        let index = self.kind.hooks().iter().position(|h| *h == hook)?;
        self.builtin.get(index)
    }

    /// All chains: built-in in hook order, then the user's by name.
    pub fn chains(&self) -> impl Iterator<Item = &Chain> {
        self.builtin.iter().chain(self.user.values())
    }
}

/// All tables of one family that were initialised (listed or changed), in the order in which that happened.
/// `iptables-save` prints the last initialised first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruleset {
    /// The family.
    pub family: Family,
    /// In order of initialisation; at most one of a kind.
    pub tables: Vec<Table>,
}

impl Ruleset {
    /// A ruleset in which no table was ever touched.
    #[must_use]
    pub const fn new(family: Family) -> Self {
        Self { family, tables: Vec::new() }
    }

    /// A table, if it was initialised.
    #[must_use]
    pub fn table(&self, kind: TableKind) -> Option<&Table> {
        self.tables.iter().find(|table| table.kind == kind)
    }

    /// A table, initialised now if it was not.
    pub fn table_mut(&mut self, kind: TableKind) -> &mut Table {
        let index = match self.tables.iter().position(|table| table.kind == kind) {
            Some(index) => index,
            None => {
                self.tables.push(Table::new(self.family, kind));
                self.tables.len() - 1
            }
        };
        &mut self.tables[index]
    }
}
