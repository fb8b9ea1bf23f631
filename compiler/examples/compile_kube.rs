//! Compiles a ruleset of kube-proxy's shape, then five-tuple rules, and prints what it took:
//! `cargo run --release -p bpftables-compiler --features testgen --example compile_kube [services] [rules]`.
#![expect(clippy::disallowed_methods, reason = "a measurement needs a clock and arguments")]

use bpftables_compiler::{Options, compile, testgen};
use bpftables_ruleset::Ruleset;
use std::time::Instant;

fn main() {
    let number = |at: usize, or: u32| std::env::args().nth(at).and_then(|n| n.parse().ok()).unwrap_or(or);
    measure(&testgen::kube_proxy(number(1, 20_000)), &Options::default());
    let tuples = testgen::five_tuples(number(2, 50_000));
    measure(&tuples, &Options::default());
    measure(&tuples, &Options { hash: false, ..Options::default() });
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    for line in status.lines().filter(|l| l.starts_with("VmHWM") || l.starts_with("VmRSS")) {
        println!("{line}");
    }
}

fn measure(ruleset: &Ruleset, options: &Options) {
    let rules: usize = ruleset.tables.iter().flat_map(|t| t.chains()).map(|c| c.rules.len()).sum();
    let chains: usize = ruleset.tables.iter().map(|t| t.chains().count()).sum();
    for _ in 0..3 {
        let begun = Instant::now();
        match compile(ruleset, options) {
            Ok(image) => {
                let (took, bytes) = (begun.elapsed(), image.bytes().len());
                println!("{rules} rules in {chains} chains, {options:?}: {took:?}, {bytes} bytes");
            }
            Err(error) => println!("{error}"),
        }
    }
}
