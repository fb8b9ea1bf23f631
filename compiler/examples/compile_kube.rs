//! Compiles a ruleset of kube-proxy's shape and prints what it took: `cargo run --release --features testgen --example compile_kube [services]`.

use bpftables_compiler::{Options, compile, testgen};
use std::time::Instant;

fn main() {
    let services = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(20_000);
    let begun = Instant::now();
    let ruleset = testgen::kube_proxy(services);
    let rules: usize = ruleset.tables.iter().flat_map(|t| t.chains()).map(|c| c.rules.len()).sum();
    let chains: usize = ruleset.tables.iter().map(|t| t.chains().count()).sum();
    println!("{rules} rules, {chains} chains made in {:?}", begun.elapsed());
    for _ in 0..3 {
        let begun = Instant::now();
        match compile(&ruleset, &Options::default()) {
            Ok(image) => println!("compiled in {:?}: {} lines, {} bytes", begun.elapsed(), image.lines.len(), image.bytes().len()),
            Err(error) => println!("{error}"),
        }
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    for line in status.lines().filter(|l| l.starts_with("VmHWM") || l.starts_with("VmRSS")) {
        println!("{line}");
    }
}
