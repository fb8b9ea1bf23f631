//! Counters of `iptables-save -c`, and which of them chance has no part in.

use std::collections::BTreeMap;

/// Packets and bytes.
pub(crate) type Count = (u64, u64);

/// Rules as saved, each with its table in front, in the order of the save.
pub(crate) struct Counters {
    rules: Vec<(String, Count)>,
}

impl Counters {
    /// Reads what `iptables-save -c` printed.
    pub(crate) fn parse(text: &str) -> Self {
        let mut table = "";
        let mut rules = Vec::new();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('*') {
                table = name;
            } else if let Some((count, rule)) = line.strip_prefix('[').and_then(|l| l.split_once("] "))
                && let Some((packets, bytes)) = count.split_once(':')
                && let (Ok(packets), Ok(bytes)) = (packets.parse(), bytes.parse())
            {
                rules.push((format!("{table} {rule}"), (packets, bytes)));
            }
        }
        Self { rules }
    }

    /// The counters of the first rule that contains every one of `parts`.
    pub(crate) fn find(&self, parts: &[&str]) -> Option<Count> {
        self.rules.iter().find(|(rule, _)| parts.iter().all(|part| rule.contains(part))).map(|(_, count)| *count)
    }

    /// Rules that one side has and the other has not, and rules of nat whose counters differ though no
    /// chance is in them: nat sees the first packet of each connection, and all but the chains
    /// that choose an endpoint see all of these.
    pub(crate) fn differences(&self, legacy: &Self) -> Vec<String> {
        let theirs: BTreeMap<&str, Count> = legacy.rules.iter().map(|(rule, count)| (rule.as_str(), *count)).collect();
        let mut differences = Vec::new();
        if self.rules.iter().map(|(rule, _)| rule).ne(legacy.rules.iter().map(|(rule, _)| rule)) {
            differences.push("the saved rules differ from legacy's".to_owned());
        }
        for (rule, count) in self.rules.iter().filter(|(rule, _)| fixed(rule)) {
            if let Some(other) = theirs.get(rule.as_str())
                && other != count
            {
                differences
                    .push(format!("ours counted {}:{}, legacy {}:{}: {rule}", count.0, count.1, other.0, other.1));
            }
        }
        differences
    }
}

fn fixed(rule: &str) -> bool {
    let endpoint = rule.contains("-A KUBE-SEP-") || (rule.contains("-A KUBE-SVC-") && !rule.contains("KUBE-MARK-MASQ"));
    rule.starts_with("nat ") && !endpoint
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAVE: &str = "*nat\n:OUTPUT ACCEPT [3:180]\n[3:180] -A OUTPUT -j KUBE-SERVICES\n\
        [2:120] -A KUBE-SVC-X -m statistic --mode random --probability 0.5 -j KUBE-SEP-X\nCOMMIT\n";

    #[test]
    fn a_rule_is_found_by_its_parts_with_its_counters() {
        assert_eq!(Counters::parse(SAVE).find(&["nat", "-j KUBE-SERVICES"]), Some((3, 180)));
        assert_eq!(Counters::parse(SAVE).find(&["filter", "-j KUBE-SERVICES"]), None);
    }

    #[test]
    fn a_different_counter_is_told_unless_chance_made_it() {
        let chance = Counters::parse(&SAVE.replace("[2:120]", "[1:60]"));
        assert_eq!(chance.differences(&Counters::parse(SAVE)), Vec::<String>::new());
        let wrong = Counters::parse(&SAVE.replace("[3:180] -A", "[4:240] -A"));
        assert_eq!(wrong.differences(&Counters::parse(SAVE)).len(), 1);
        let missing = Counters::parse(&SAVE.replace("[3:180] -A OUTPUT -j KUBE-SERVICES\n", ""));
        assert_eq!(missing.differences(&Counters::parse(SAVE)).len(), 1);
    }
}
