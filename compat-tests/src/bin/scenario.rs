//! Runs scenario files by hand and prints what happens: `scenario FILE [NAME-PART] [legacy|ours|both]`.

use bpftables_compat_tests::world::{Kind, World};
use bpftables_compat_tests::{Result, diff, run, scenario};
use std::time::Duration;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (worlds, words): (Vec<&String>, Vec<&String>) =
        args.iter().partition(|a| matches!(a.as_str(), "legacy" | "ours" | "both"));
    let file = words.first().ok_or("usage: scenario FILE [NAME-PART] [legacy|ours|both]")?;
    let part = words.get(1).map_or("", |s| s.as_str());
    let kinds: &[Kind] = match worlds.first().map(|s| s.as_str()) {
        Some("ours") => &[Kind::Ours],
        Some("both") => &[Kind::Legacy, Kind::Ours],
        _ => &[Kind::Legacy],
    };
    for sc in scenario::parse(&std::fs::read_to_string(file.as_str())?)? {
        if !sc.name.contains(part) {
            continue;
        }
        println!("### {}", sc.name);
        let mut texts = Vec::new();
        for kind in kinds {
            let mut world = World::with(*kind, sc.family, sc.vrf, 0)?;
            let out = run::run(&mut world, &sc, Duration::from_millis(20));
            texts.push(out.map_or_else(|e| format!("ERROR: {e}\n"), |o| o.text));
        }
        match texts.as_slice() {
            [a, b] if a != b => println!("{}", diff::lines(a, b, "legacy", "ours")),
            [a, ..] => println!("{a}"),
            [] => {}
        }
    }
    Ok(())
}
