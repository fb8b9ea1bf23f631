//! The tables of nf_tables in this network namespace: what others' rules are in force there.

use crate::error::{Doing, Result};
use crate::nfnetlink::{self, Message};
use bpftables_ruleset::{Family, TableKind};

/// nf_tables, and what asks it for tables, chains and rules.
const NFTABLES: u8 = 10;
const GET_TABLES: u8 = 1;
const GET_CHAINS: u8 = 4;
const GET_RULES: u8 = 7;
/// Attributes of a table; the flag of one that is switched off.
const TABLE_NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;
const DORMANT: u32 = 1;
/// Attributes of a chain, the first of a rule too: its table, its name, where it hooks, its policy.
const TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const ACCEPT: u32 = 1;
/// What iptables-nft calls its base chains.
const CHAINS: [&str; 5] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];

/// A table of nf_tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NftTable {
    /// Its family as nft calls it: `inet`, `ip`, ...
    pub(crate) family: &'static str,
    /// Its name.
    name: String,
    /// It does something to packets: it has a rule, or a policy other than accept, and is not dormant.
    pub in_force: bool,
    /// It is named as iptables-nft names tables, and its base chains as iptables-nft names those: whose rules it shows.
    pub iptables: Option<Family>,
}

impl std::fmt::Display for NftTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.family, self.name)
    }
}

/// nft's name of a family of the kernel's (`NFPROTO_*`).
const fn family(number: u8) -> &'static str {
    match number {
        1 => "inet",
        2 => "ip",
        3 => "arp",
        5 => "netdev",
        7 => "bridge",
        10 => "ip6",
        _ => "unknown",
    }
}

/// A string of the kernel's.
fn text(message: &Message, kind: u16) -> String {
    let bytes = message.attributes().get(kind).unwrap_or_default();
    String::from_utf8_lossy(bytes.strip_suffix(&[0]).unwrap_or(bytes)).into_owned()
}

fn number(message: &Message, kind: u16) -> Option<u32> {
    message.attributes().get(kind)?.try_into().ok().map(u32::from_be_bytes)
}

/// The tables of nf_tables, in the kernel's order; none where the kernel has no nf_tables.
///
/// # Errors
/// What the kernel says.
pub fn nft_tables() -> Result<Vec<NftTable>> {
    let dump = |what: u8, name: &str| {
        match nfnetlink::dump(NFTABLES, what, 0) {
            // A kernel without nf_tables.
            Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT)) => {
                Ok(Vec::new())
            }
            found => found,
        }
        .doing(|| format!("list the {name} of nf_tables"))
    };
    let tables = dump(GET_TABLES, "tables")?;
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    Ok(describe(&tables, &dump(GET_CHAINS, "chains")?, &dump(GET_RULES, "rules")?))
}

fn describe(tables: &[Message], chains: &[Message], rules: &[Message]) -> Vec<NftTable> {
    let describe = |table: &Message| {
        let name = text(table, TABLE_NAME);
        let of_it = |part: &&Message| part.family == table.family && text(part, TABLE) == name;
        let base = || chains.iter().filter(of_it).filter(|chain| chain.attributes().get(CHAIN_HOOK).is_some());
        let refuses = base().any(|chain| number(chain, CHAIN_POLICY).is_some_and(|policy| policy != ACCEPT));
        let dormant = number(table, TABLE_FLAGS).is_some_and(|flags| flags & DORMANT != 0);
        let family_of_iptables = match table.family {
            2 => Some(Family::V4),
            10 => Some(Family::V6),
            _ => None,
        };
        let named = TableKind::ALL.iter().any(|kind| kind.name() == name)
            && base().all(|chain| CHAINS.contains(&text(chain, CHAIN_NAME).as_str()));
        NftTable {
            family: family(table.family),
            in_force: !dormant && (refuses || rules.iter().any(|rule| of_it(&rule))),
            iptables: family_of_iptables.filter(|_| named),
            name,
        }
    };
    tables.iter().map(describe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nfnetlink::attribute;

    fn message(family: u8, attributes: &[(u16, &[u8])]) -> Message {
        Message::new(family, attributes.iter().flat_map(|(kind, value)| attribute(*kind, value)).collect())
    }

    #[test]
    fn a_table_is_in_force_by_a_rule_or_a_policy_and_iptables_by_its_names() {
        let tables = [
            message(2, &[(TABLE_NAME, b"filter\0")]),
            message(10, &[(TABLE_NAME, b"filter\0")]),
            message(1, &[(TABLE_NAME, b"filter\0")]),
            message(2, &[(TABLE_NAME, b"nat\0"), (TABLE_FLAGS, &[0, 0, 0, 1])]),
            message(2, &[(TABLE_NAME, b"mine\0")]),
        ];
        let chain = |family: u8, table: &[u8], name: &[u8], policy: u8| {
            let policy = [0, 0, 0, policy];
            message(family, &[(TABLE, table), (CHAIN_NAME, name), (CHAIN_HOOK, b""), (CHAIN_POLICY, &policy)])
        };
        let chains = [
            chain(2, b"filter\0", b"INPUT\0", 1),
            chain(10, b"filter\0", b"input\0", 0),
            chain(1, b"filter\0", b"INPUT\0", 1),
            message(2, &[(TABLE, b"filter\0"), (CHAIN_NAME, b"mine\0")]),
        ];
        let rules = [message(2, &[(TABLE, b"filter\0")]), message(2, &[(TABLE, b"nat\0")])];
        let found = describe(&tables, &chains, &rules);
        let shown = |t: &NftTable| (t.to_string(), t.in_force, t.iptables);
        let expected = [
            ("ip filter".to_owned(), true, Some(Family::V4)),
            ("ip6 filter".to_owned(), true, None),
            ("inet filter".to_owned(), false, None),
            ("ip nat".to_owned(), false, Some(Family::V4)),
            ("ip mine".to_owned(), false, None),
        ];
        assert_eq!(found.iter().map(shown).collect::<Vec<_>>(), expected);
    }
}
