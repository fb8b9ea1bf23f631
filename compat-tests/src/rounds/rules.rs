//! Tables of chains that jump to each other.

use super::draw::Draw;
use super::router::Router;
use super::{Place, Table, Want, targets};

/// The tables in the order in which they are loaded, with their chains.
const TABLES: [(&str, &[&str]); 5] = [
    ("raw", &["PREROUTING", "OUTPUT"]),
    ("mangle", &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"]),
    ("nat", &["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"]),
    ("filter", &["INPUT", "FORWARD", "OUTPUT"]),
    ("security", &["INPUT", "FORWARD", "OUTPUT"]),
];

/// A chain of one's own, and the hooks from which packets may come to it.
struct Chain {
    name: String,
    hooks: Vec<&'static str>,
}

/// All five tables, of which some have rules.
pub(super) fn tables(draw: &mut Draw, want: Want) -> Vec<Table> {
    TABLES.iter().map(|(name, hooks)| table(draw, want, name, hooks)).collect()
}

fn place<'a>(want: Want, table: &'static str, hooks: &'a [&'static str], user: bool) -> Place<'a> {
    Place { family: want.family, table, hooks, user, stateful: want.stateful, want, tcp: false, syn: false }
}

fn table(draw: &mut Draw, want: Want, name: &'static str, hooks: &'static [&'static str]) -> Table {
    let count = match name {
        "filter" => draw.weighted(&[(1, 0), (4, 6), (6, 14), (3, 30)]),
        "nat" if !want.stateful => draw.weighted(&[(5, 0), (1, 3)]),
        "nat" => draw.weighted(&[(3, 0), (3, 4), (4, 9)]),
        "mangle" => draw.weighted(&[(4, 0), (3, 4), (3, 10)]),
        "raw" => draw.weighted(&[(5, 0), (3, 3), (2, 7)]),
        _ => draw.weighted(&[(8, 0), (1, 4)]),
    };
    // One in six reaches the depth that the kernel's stack is meant for.
    let deep = draw.percent(16);
    let chains = match (count, deep) {
        (0, _) => 0,
        (_, true) => 8,
        _ => draw.weighted(&[(4, 0), (3, 1), (3, 2), (2, 4)]),
    };
    let user: Vec<Chain> = (0..chains)
        .map(|n| {
            let mut of = hooks.to_vec();
            let keep = if deep { of.len() } else { draw.weighted(&[(4, 1), (2, 2), (3, 5)]) };
            while of.len() > keep {
                of.remove(draw.below(of.len()));
            }
            Chain { name: format!("U{n}"), hooks: of }
        })
        .collect();
    let mut out = Table { name, chains: Vec::new(), rules: Vec::new() };
    for hook in hooks {
        let drop = match name {
            "filter" => draw.percent(8),
            "nat" => false,
            _ => draw.percent(1),
        };
        out.chains.push(((*hook).to_owned(), if drop { "DROP" } else { "ACCEPT" }));
    }
    out.chains.extend(user.iter().map(|chain| (chain.name.clone(), "-")));
    for (n, chain) in user.iter().enumerate().filter(|_| deep) {
        if let Some(next) = user.get(n + 1) {
            out.rules.push(format!("-A {} -j {}", chain.name, next.name));
        }
    }
    if deep && let Some(first) = user.first() {
        out.rules.push(format!("-A {} -j {}", draw.pick(hooks), first.name));
    }
    if name == "raw" && want.rates {
        // Before whatever asks for them.
        for name in ["E{n}", "F{n}"] {
            let rule = "RATEEST --rateest-interval 8s --rateest-ewmalog 16s --rateest-name";
            out.rules.push(format!("-A PREROUTING -j {rule} {name}"));
        }
    }
    if name == "mangle" && want.proxy {
        let place = place(want, name, &hooks[..1], false);
        for _ in 0..draw.from_to(1, 2) {
            out.rules.push(format!("-A PREROUTING {}", targets::proxy(draw, &place)));
        }
    }
    for _ in 0..count {
        // Chains of one's own have half of the rules.
        let at = draw.below(hooks.len() + user.len().min(hooks.len()));
        let (chain, from, of): (&str, usize, Vec<&'static str>) = match hooks.get(at) {
            Some(hook) => (hook, 0, vec![*hook]),
            None => {
                let n = draw.below(user.len());
                (&user[n].name, n + 1, user[n].hooks.clone())
            }
        };
        let place = place(want, name, &of, from > 0);
        let below: Vec<&Chain> =
            user[from.min(user.len())..].iter().filter(|c| of.iter().all(|h| c.hooks.contains(h))).collect();
        let rule = if !below.is_empty() && draw.percent(35) {
            let to = below[draw.below(below.len())];
            let how = if draw.percent(15) { "-g" } else { "-j" };
            format!("{}{how} {}", super::matches::some(draw, &place), to.name)
        } else {
            targets::rule(draw, &place)
        };
        let mut rule = format!("-A {chain} {rule}").trim_end().to_owned();
        for port in ["-i eth0 ", "-i eth1 ", "-o eth0 ", "-o eth1 "] {
            if want.router == Router::Bridged && rule.contains(port) && draw.percent(70) {
                rule = rule.replace(port, &format!("{} br0 ", &port[..2]));
            }
        }
        out.rules.push(rule);
    }
    out
}
