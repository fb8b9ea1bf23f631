//! Public rulesets: read, saved and read again by the commands, and compiled.

mod common;

use bpftables::context::Context;
use bpftables::dry::Dry;
use bpftables::multicall::Program;
use bpftables_ruleset::Family;
use common::Host;
use std::collections::BTreeMap;
use std::path::PathBuf;

fn corpus() -> PathBuf {
    match std::env::var_os("BPFTABLES_CORPUS") {
        Some(path) => path.into(),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"),
    }
}

/// The rulesets by name, with their family.
fn rulesets() -> BTreeMap<String, (Family, Vec<u8>)> {
    let files = corpus().join("rulesets").read_dir().expect("rulesets");
    let files = files.map(|entry| entry.expect("an entry").path());
    files
        .filter_map(|path| {
            let family = match path.extension()?.to_str()? {
                "v4" => Family::V4,
                "v6" => Family::V6,
                _ => return None,
            };
            let text = std::fs::read(&path).expect("a ruleset");
            Some((path.file_name()?.to_string_lossy().into_owned(), (family, text)))
        })
        .collect()
}

/// What is said of a match or target that only legacy has.
const LATER: &str = "not supported by this version of bpftables";

/// What is said of a set that another program would have made.
const NO_SET: &str = " doesn't exist.";

/// Without the lines that tell the time.
fn rules(save: &str) -> String {
    save.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect()
}

#[test]
fn every_public_ruleset_is_read_and_its_save_restores_to_itself() {
    let all = rulesets();
    let mut read = 0;
    for (name, (family, text)) in &all {
        let restore = Program::Restore(*family).name();
        let [save, save_counters] = ["", " -c"].map(|option| Program::Save(*family).name().to_owned() + option);
        let list = Program::Tables(*family).name().to_owned() + " -S";
        let mut host = Host::default();
        let outcome = host.run_with(&[restore, "-c"], text);
        if outcome.stderr.contains(LATER) || outcome.stderr.contains(NO_SET) {
            println!("{name}: {}", outcome.stderr.lines().next().unwrap_or_default());
            continue;
        }
        assert_eq!(outcome.code, 0, "{name}: {}", outcome.stderr);
        let commands = rules(&host.ok(&list));
        for (counters, options) in [(&save, &[restore][..]), (&save_counters, &[restore, "-c"])] {
            let saved = host.ok(counters);
            let mut again = Host::default();
            let outcome = again.run_with(options, saved.as_bytes());
            assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{name}");
            // The last table to be made is saved first, so a second restore turns their order round.
            let mut third = Host::default();
            assert_eq!(third.run_with(options, again.ok(counters).as_bytes()).code, 0, "{name}");
            if options.len() == 2 {
                assert_eq!(rules(&third.ok(counters)), rules(&saved), "{name}");
            }
            assert_eq!(rules(&again.ok(&list)), commands, "{name}");
        }
        read += 1;
    }
    println!("{read} of {} public rulesets are read and restore to themselves", all.len());
    assert!(read > 55, "only {read} rulesets");
}

#[test]
fn public_rulesets_compile_or_every_rule_in_the_way_is_named() {
    let all = rulesets();
    let (mut read, mut native, mut refused) = (0, 0, BTreeMap::<String, u32>::new());
    for (name, (family, text)) in &all {
        let mut dry = Dry::default();
        let (mut stdin, mut stderr) = (&text[..], Vec::new());
        let program = Program::Restore(*family);
        let code = bpftables::run(
            program,
            &[],
            &mut Context {
                backend: &mut dry,
                names: &common::names::WithSets::of_any_name(),
                stdin: &mut stdin,
                stdout: &mut Vec::new(),
                stderr: &mut stderr,
                lock_path: None,
                now: String::new,
                argv0: program.name().to_owned(),
            },
        );
        let stderr = String::from_utf8_lossy(&stderr);
        if stderr.contains(LATER) {
            continue;
        }
        read += 1;
        assert_eq!(code, 0, "{name}: {stderr}");
        if dry.refused().is_empty() {
            assert!(dry.lines() > 0, "{name}");
            native += 1;
        }
        for error in dry.refused() {
            let text = error.to_string();
            let (_, reason) = text.rsplit_once(": ").expect("a reason after the rule");
            *refused.entry(reason.to_owned()).or_default() += 1;
        }
    }
    println!(
        "{read} of {} public rulesets are read, {native} of them run natively; in the way: {refused:#?}",
        all.len()
    );
    assert!(native > 20, "only {native} rulesets compile");
    assert!(refused.keys().all(|reason| reason.starts_with("-j ") || reason.starts_with("-m ")), "{refused:?}");
}
