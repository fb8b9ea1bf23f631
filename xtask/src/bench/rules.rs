//! Rulesets of five-tuple rules, for iptables and for nft.

use std::fmt::Write;
use std::net::Ipv4Addr;

/// The port that the last rule lets through.
pub(super) const PORT: u16 = 5000;

/// A five-tuple (UDP) that no packet of the bench has.
struct Tuple {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    source_port: u16,
    port: u16,
}

/// Always the same sequence, without two equal ones.
fn tuples(count: usize) -> impl Iterator<Item = Tuple> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    (0..count).map(move |index| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Tuple {
            source: Ipv4Addr::from_bits(0x0b00_0000 | index as u32),
            destination: Ipv4Addr::from_bits(0x0c00_0000 | (state >> 40) as u32),
            source_port: 1024 + (state >> 24 & 0x7fff) as u16,
            port: 1 + (state >> 8 & 0x3fff) as u16,
        }
    })
}

/// `count` rules in FORWARD. Only the last lets the bench's packets through (the one before it, their
/// answers): with any rule at all the policy is DROP, so that what arrives has passed them all.
pub(super) fn iptables(count: usize, conntrack: bool) -> String {
    let policy = if count == 0 { "ACCEPT" } else { "DROP" };
    let mut text = format!("*filter\n:INPUT ACCEPT [0:0]\n:FORWARD {policy} [0:0]\n:OUTPUT ACCEPT [0:0]\n");
    if conntrack {
        text.push_str("-A FORWARD -m conntrack --ctstate INVALID -j DROP\n");
    }
    for tuple in tuples(count.saturating_sub(2)) {
        let _ = writeln!(
            text,
            "-A FORWARD -s {}/32 -d {}/32 -p udp -m udp --sport {} --dport {} -j DROP",
            tuple.source, tuple.destination, tuple.source_port, tuple.port
        );
    }
    if count > 0 {
        let _ = write!(
            text,
            "-A FORWARD -s 10.20.0.0/16 -d 10.10.0.0/16 -p udp -m udp --sport {PORT} --dport 1024:65535 -j ACCEPT\n\
             -A FORWARD -s 10.10.0.0/16 -d 10.20.0.0/16 -p udp -m udp --sport 1024:65535 --dport {PORT} -j ACCEPT\n"
        );
    }
    text.push_str("COMMIT\n");
    text
}

/// The same for nft: a rule each, or the dropped tuples in one set.
pub(super) fn nft(count: usize, conntrack: bool, set: bool) -> String {
    let policy = if count == 0 { "accept" } else { "drop" };
    let mut text = String::from("table ip bench\ndelete table ip bench\ntable ip bench {\n");
    let unlike = count.saturating_sub(2);
    if set && unlike > 0 {
        text.push_str("set tuples { type ipv4_addr . ipv4_addr . inet_service . inet_service; elements = {\n");
        for t in tuples(unlike) {
            let _ = writeln!(text, "{} . {} . {} . {},", t.source, t.destination, t.source_port, t.port);
        }
        text.push_str("} }\n");
    }
    let _ = writeln!(text, "chain forward {{ type filter hook forward priority 0; policy {policy};");
    if conntrack {
        text.push_str("ct state invalid drop\n");
    }
    if set && unlike > 0 {
        text.push_str("ip saddr . ip daddr . udp sport . udp dport @tuples drop\n");
    } else {
        for t in tuples(unlike) {
            let _ = writeln!(
                text,
                "ip saddr {} ip daddr {} udp sport {} udp dport {} drop",
                t.source, t.destination, t.source_port, t.port
            );
        }
    }
    if count > 0 {
        let _ = write!(
            text,
            "ip saddr 10.20.0.0/16 ip daddr 10.10.0.0/16 udp sport {PORT} udp dport 1024-65535 accept\n\
             ip saddr 10.10.0.0/16 ip daddr 10.20.0.0/16 udp sport 1024-65535 udp dport {PORT} accept\n"
        );
    }
    text.push_str("}\n}\n");
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_ruleset_has_as_many_rules_as_asked_for_and_no_two_alike() {
        for count in [2, 10, 50_000] {
            let text = iptables(count, false);
            let rules: Vec<&str> = text.lines().filter(|line| line.starts_with("-A")).collect();
            assert_eq!(rules.len(), count);
            assert_eq!(rules.iter().collect::<HashSet<_>>().len(), count);
        }
        assert_eq!(iptables(0, true).matches("-A").count(), 1);
    }

    #[test]
    fn nft_drops_the_same_tuples_by_rules_as_by_a_set() {
        assert_eq!(nft(100, false, false).matches(" drop\n").count(), 98);
        assert_eq!(nft(100, false, true).lines().filter(|line| line.ends_with(',')).count(), 98);
    }
}
