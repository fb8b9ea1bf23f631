//! The crates depend on each other only the ways that ARCHITECTURE.md draws.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

const ABI: &str = "bpftables-abi";
const COMPILER: &str = "bpftables-compiler";
const EBPF: &str = "bpftables-ebpf";
const PARSER: &str = "bpftables-parser";
const RULESET: &str = "bpftables-ruleset";
const RUNTIME: &str = "bpftables-runtime";

/// Each crate of the workspace, and which others it may use in what it ships.
const DRAWN: &[(&str, &[&str])] = &[
    (RULESET, &[]),
    (PARSER, &[RULESET]),
    (ABI, &[]),
    (COMPILER, &[RULESET, ABI]),
    (EBPF, &[ABI]),
    // RULESET: the types that runtime takes in and gives back.
    (RUNTIME, &[COMPILER, ABI, EBPF, RULESET]),
    ("bpftables", &[RULESET, PARSER, ABI, COMPILER, EBPF, RUNTIME]),
    ("bpftables-compat-tests", &[]),
    ("xtask", &[]),
];

/// What tests and build scripts may use beyond that: the kernel's programs are tested against the compiler,
/// and rulesets are written as text. Still nothing runs back.
const DRAWN_FOR_TESTS: &[(&str, &[&str])] =
    &[(COMPILER, &[PARSER]), (EBPF, &[RULESET, PARSER, COMPILER]), (RUNTIME, &[PARSER])];

/// Crates that do no IO, and so have nothing in them that could.
const PURE: &[&str] = &[RULESET, PARSER, COMPILER];
const IO_CRATES: &[&str] = &["aya", "libc", "netlink-sys", "nix", "rustix", "socket2", "tokio", "tracing-subscriber"];

/// A dependency: its name, and "normal", "dev" or "build".
type Dependency = (String, String);

fn workspace() -> BTreeMap<String, Vec<Dependency>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let json: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    json["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"]
                .as_array()
                .expect("dependencies")
                .iter()
                .map(|d| (text(&d["name"]), d["kind"].as_str().unwrap_or("normal").to_owned()))
                .collect();
            (text(&package["name"]), dependencies)
        })
        .collect()
}

fn drawn(list: &[(&str, &'static [&'static str])], name: &str) -> &'static [&'static str] {
    list.iter().find(|(drawn, _)| *drawn == name).map_or(&[], |(_, uses)| uses)
}

#[test]
fn every_crate_of_the_workspace_is_in_the_drawing_and_the_other_way_round() {
    let crates = workspace();
    let mut names: Vec<&str> = crates.keys().map(String::as_str).collect();
    let mut drawn: Vec<&str> = DRAWN.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    drawn.sort_unstable();
    assert_eq!(names, drawn);
}

#[test]
fn crates_depend_on_each_other_only_the_ways_that_are_drawn() {
    let crates = workspace();
    for (name, dependencies) in &crates {
        for (used, kind) in dependencies.iter().filter(|(used, _)| crates.contains_key(used)) {
            let allowed = drawn(DRAWN, name).contains(&used.as_str())
                || (kind != "normal" && drawn(DRAWN_FOR_TESTS, name).contains(&used.as_str()));
            assert!(allowed, "{name} must not depend on {used} ({kind})");
        }
    }
}

#[test]
fn crates_without_io_depend_on_nothing_that_does_io() {
    let crates = workspace();
    for name in PURE {
        for (used, kind) in &crates[*name] {
            assert!(
                kind != "normal" || !IO_CRATES.contains(&used.as_str()),
                "{name} does no IO, but depends on {used}"
            );
        }
    }
}

#[test]
fn only_xtask_and_tests_use_anyhow() {
    for (name, dependencies) in &workspace() {
        let uses = dependencies.iter().any(|(used, kind)| used == "anyhow" && kind == "normal");
        assert!(
            !uses || ["xtask", "bpftables-compat-tests"].contains(&name.as_str()),
            "{name} uses anyhow: its errors are a thiserror enum"
        );
    }
}
