//! Why a match or target cannot be run, for those where more is to be said than that nobody has written it yet.

use bpftables_ruleset::Target;
use bpftables_ruleset::matches::bpf::BpfProgram;
use bpftables_ruleset::matches::{Bpf, Match};
use std::borrow::Cow;

/// The reason of a rule's refusal, by the name of its match.
pub(crate) fn matching(m: &Match) -> Box<str> {
    let why = match m {
        Match::Ipvs(_) => "can't be run, since IPVS keeps its connections where programs don't see them",
        Match::Bpf(Bpf { program: BpfProgram::Pinned(_) }) => {
            "--object-pinned can't be run, for no program can call another that was loaded apart"
        }
        Match::Osf(_) => "can't be run, since the kernel's fingerprints are out of programs' sight",
        Match::Nfacct(_) => {
            "can't be run, for no function of the kernel that programs may call counts in its accounting objects"
        }
        _ => "can't be run yet",
    };
    format!("-m {} {why}", m.name()).into()
}

/// The reason of a rule's refusal, by the name of its target.
pub(crate) fn target(rule: &Target) -> Cow<'static, str> {
    let why = match rule {
        Target::Ct(ct) if !ct.helper.is_empty() => {
            return "-j CT --helper can't be run, for the kernel's helpers read along connections of its own alone"
                .into();
        }
        Target::Audit(_) => "the audit system takes records of this kind (AUDIT_NETFILTER_PKT) from the kernel alone",
        Target::Clusterip(_) => "it answers ARP for an address of many hosts, and no kernel since 6.3 has it",
        Target::Connsecmark(_) | Target::Secmark(_) => "no program can set the security mark of a packet",
        Target::Idletimer(_) => {
            "its timers are the kernel's files in /sys, which neither programs nor processes can make or notify of"
        }
        Target::Led(_) => "no program can switch a LED",
        Target::Nfqueue(_) | Target::Queue(_) => "no program can hand a packet to a process and wait for its verdict",
        Target::Synproxy(_) => "handshakes of connections that are not ours can't be made by a program",
        Target::Ulog(_) => "no kernel since 3.17 has it; NFLOG took its place",
        other => return format!("-j {} can't be run yet", other.name()).into(),
    };
    format!("-j {} can't be run, for {why}", rule.name()).into()
}
