//! Which program a name stands for.

use bpftables_ruleset::Family;

/// A program of the binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `iptables`, `ip6tables`.
    Tables(Family),
    /// `iptables-save`, `ip6tables-save`.
    Save(Family),
    /// `iptables-restore`, `ip6tables-restore`.
    Restore(Family),
    /// `iptables-xml`.
    Xml,
    /// `iptables-apply`, `ip6tables-apply`.
    Apply(Family),
    /// `bpftables`.
    Admin,
    /// `bpftablesd`.
    Agent,
}

const V4: Family = Family::V4;
const V6: Family = Family::V6;

/// Every name the binary answers to, as its own or its first argument.
pub const NAMES: &[(&str, Program)] = &[
    ("iptables", Program::Tables(V4)),
    ("iptables-save", Program::Save(V4)),
    ("iptables-restore", Program::Restore(V4)),
    ("iptables-bpf", Program::Tables(V4)),
    ("iptables-bpf-save", Program::Save(V4)),
    ("iptables-bpf-restore", Program::Restore(V4)),
    ("iptables-xml", Program::Xml),
    ("iptables-bpf-xml", Program::Xml),
    ("iptables-apply", Program::Apply(V4)),
    ("iptables-bpf-apply", Program::Apply(V4)),
    ("ip6tables", Program::Tables(V6)),
    ("ip6tables-save", Program::Save(V6)),
    ("ip6tables-restore", Program::Restore(V6)),
    ("ip6tables-bpf", Program::Tables(V6)),
    ("ip6tables-bpf-save", Program::Save(V6)),
    ("ip6tables-bpf-restore", Program::Restore(V6)),
    ("ip6tables-apply", Program::Apply(V6)),
    ("ip6tables-bpf-apply", Program::Apply(V6)),
    ("bpftables", Program::Admin),
    ("bpftablesd", Program::Agent),
];

impl Program {
    /// The program and its arguments, from all words of the command line (the first is the binary's own name).
    #[must_use]
    pub fn select(words: &[String]) -> Option<(Self, &[String])> {
        let own = words.first()?;
        let base = own.rsplit('/').next().unwrap_or(own);
        if let Some(program) = Self::by_name(base) {
            return Some((program, &words[1..]));
        }
        let program = Self::by_name(words.get(1)?)?;
        Some((program, &words[2..]))
    }

    /// By one of [`NAMES`].
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, program)| *program)
    }

    /// The name in messages, which is legacy's whatever the binary was called by.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tables(Family::V4) => "iptables",
            Self::Tables(Family::V6) => "ip6tables",
            Self::Save(Family::V4) => "iptables-save",
            Self::Save(Family::V6) => "ip6tables-save",
            Self::Restore(Family::V4) => "iptables-restore",
            Self::Restore(Family::V6) => "ip6tables-restore",
            Self::Xml => "iptables-xml",
            Self::Apply(Family::V4) => "iptables-apply",
            Self::Apply(Family::V6) => "ip6tables-apply",
            Self::Admin => "bpftables",
            Self::Agent => "bpftablesd",
        }
    }
}

/// What is said to somebody who calls the binary by none of its names.
#[must_use]
pub fn no_such_program() -> String {
    let names: String = NAMES.iter().map(|(name, _)| format!(" * {name}\n")).collect();
    format!("ERROR: No valid subcommand given.\nValid subcommands:\n{names}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn the_own_name_decides_and_then_the_first_argument() {
        let select = |line: &str| Program::select(&words(line)).map(|(program, rest)| (program.name(), rest.join(" ")));
        assert_eq!(select("/usr/sbin/iptables -S"), Some(("iptables", "-S".to_owned())));
        assert_eq!(select("iptables-bpf-restore -n"), Some(("iptables-restore", "-n".to_owned())));
        assert_eq!(select("xtables-bpf-multi ip6tables-save -c"), Some(("ip6tables-save", "-c".to_owned())));
        assert_eq!(select("xtables-bpf-multi bpftables status"), Some(("bpftables", "status".to_owned())));
        assert_eq!(select("xtables-bpf-multi nope"), None);
        assert_eq!(select("xtables-bpf-multi"), None);
    }
}
