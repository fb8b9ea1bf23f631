//! The rules that legacy accepted in the parser's fixtures.

use super::names::WithSets;
use bpftables::context::Context;
use bpftables::dry::Dry;
use bpftables::multicall::Program;
use bpftables_ruleset::Family;
use std::path::{Path, PathBuf};

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub(crate) fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = folder.read_dir().unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    found.retain(|path| path.extension().is_some_and(|of| of == extension));
    found.sort();
    found
}

/// Rules that legacy accepted: table, chain, and what follows.
pub(crate) fn accepted(family: Family) -> Vec<(String, String, String)> {
    // What both families have stands among IPv4's.
    let folder = root().join("parser/tests/fixtures");
    let mut paths = files(&folder, "txt");
    if family == Family::V6 {
        paths.extend(files(&folder.join("ip6"), "txt"));
    }
    let mut all = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("a fixture");
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let refused = lines.peek().is_some_and(|next| next.starts_with("rc "));
            let Some(command) = line.strip_prefix("$ ").filter(|_| !refused) else { continue };
            let (table, command) = match command.strip_prefix("-t ").and_then(|rest| rest.split_once(' ')) {
                Some((table, rest)) => (table, rest),
                None => ("filter", command),
            };
            let Some((chain, rule)) = command.strip_prefix("-A ").and_then(|rest| rest.split_once(' ')) else {
                continue;
            };
            // What a restore file reads otherwise.
            if !rule.contains(['\'', '\\']) && !rule.split(' ').any(|word| word == "-t" || word.starts_with("-w")) {
                all.push((table.to_owned(), chain.to_owned(), rule.to_owned()));
            }
        }
    }
    all
}

/// Compiles one rule; none if it is not accepted there.
pub(crate) fn compile(family: Family, table: &str, chain: &str, rule: &str) -> Option<Dry> {
    let mut dry = Dry::default();
    let text = format!("*{table}\n:UC - [0:0]\n-A {chain} {rule}\nCOMMIT\n");
    let program = Program::Restore(family);
    let code = bpftables::run(
        program,
        &[],
        &mut Context {
            backend: &mut dry,
            names: &WithSets::default(),
            stdin: &mut text.as_bytes(),
            stdout: &mut Vec::new(),
            stderr: &mut Vec::new(),
            lock_path: None,
            now: String::new,
            argv0: program.name().to_owned(),
        },
    );
    (code == 0).then_some(dry)
}
