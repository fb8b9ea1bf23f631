//! Recorded sessions of real clients over legacy 1.8.11, replayed against a datapath in memory.

mod common;

use common::{Host, Outcome};
use flate2::read::GzDecoder;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

fn corpus() -> PathBuf {
    match std::env::var_os("BPFTABLES_CORPUS") {
        Some(path) => path.into(),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"),
    }
}

/// One recorded call.
struct Call {
    seq: u64,
    argv: Vec<String>,
    stdin: String,
    files: BTreeMap<String, String>,
    expected: Outcome,
}

/// The calls of a session in the network namespace of its first line.
fn session(name: &str) -> Vec<Call> {
    let path = corpus().join("clients").join(format!("{name}.jsonl.gz"));
    let file = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut text = String::new();
    GzDecoder::new(file).read_to_string(&mut text).expect("a gzip of text");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let string = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let netns = string(&lines[0], "netns");
    let ours = lines.iter().filter(|line| string(line, "netns") == netns);
    ours.map(|line| Call {
        seq: line["seq"].as_u64().expect("a number"),
        argv: line["argv"].as_array().expect("words").iter().map(|word| word.as_str().unwrap().to_owned()).collect(),
        stdin: string(line, "stdin"),
        files: line["files"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned()))
            .collect(),
        expected: Outcome {
            code: u8::try_from(line["rc"].as_u64().unwrap_or(0)).expect("an exit code"),
            stdout: string(line, "stdout"),
            stderr: string(line, "stderr"),
        },
    })
    .collect()
}

/// The version's word, dates and what live traffic counted are not compared.
fn normal(text: &str) -> String {
    let text = text.replace("(legacy)", "(bpf)");
    let mut out = String::new();
    for line in text.lines() {
        if let Some((head, _)) = line.split_once(" on ").filter(|(head, _)| head.starts_with("# ")) {
            out.push_str(head);
        } else if let Some((head, rest)) = line.split_once('[').filter(|_| line.starts_with([':', '['])) {
            let tail = rest.split_once(']').map_or("", |(_, tail)| tail);
            out.push_str(&format!("{head}[]{tail}"));
        } else if let Some((head, _)) = line.split_once(" packets, ").filter(|_| line.starts_with("Chain ")) {
            out.push_str(head.rsplit_once(' ').map_or(head, |(head, _)| head));
        } else if let Some(rest) = without_counters(line) {
            out.push_str(rest);
        } else {
            out.push_str(line);
        }
        out.push('\n');
    }
    out
}

/// A rule of a listing with `-v`, without what it counted.
fn without_counters(line: &str) -> Option<&str> {
    let mut rest = line.strip_prefix(' ')?;
    for _ in 0..2 {
        let (number, after) = rest.trim_start().split_once(' ')?;
        let digits = number.trim_end_matches(['K', 'M', 'G', 'T']);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        rest = after;
    }
    Some(rest.trim_start())
}

#[derive(Debug, Default)]
struct Tally {
    equal: usize,
    /// Refused by name: an extension of a later issue.
    refused: BTreeMap<String, usize>,
    /// Differs, and a call before it was refused, so the rulesets are no longer the same.
    diverged: Vec<u64>,
    /// Differs without excuse.
    different: Vec<String>,
}

impl Tally {
    /// Nothing differs but for what is refused by name, and that is exactly `later`: extensions of a later issue.
    fn differs_only_by(&self, later: &[&str]) {
        assert_eq!(self.different.len(), 0);
        assert_eq!(self.refused.keys().map(String::as_str).collect::<Vec<_>>(), later);
    }
}

/// Extensions whose presence shorewall probes.
const SHOREWALL_PROBES: &[&str] = &["a set"];

fn replay(name: &str) -> Tally {
    let mut host = Host::default();
    let mut tally = Tally::default();
    for call in session(name) {
        let mut argv: Vec<String> = call.argv.clone();
        let mut made = Vec::new();
        for (index, (path, text)) in call.files.iter().enumerate() {
            let place =
                std::env::temp_dir().join(format!("bpftables-replay-{}-{}-{index}", std::process::id(), call.seq));
            std::fs::write(&place, text).expect("a scratch file");
            for word in argv.iter_mut().filter(|word| *word == path) {
                *word = place.display().to_string();
            }
            made.push(place);
        }
        let words: Vec<&str> = argv.iter().map(String::as_str).collect();
        let got = host.run_with(&words, call.stdin.as_bytes());
        for place in made {
            let _ = std::fs::remove_file(place);
        }
        let same = got.code == call.expected.code
            && normal(&got.stdout) == normal(&call.expected.stdout)
            && normal(&got.stderr) == normal(&call.expected.stderr);
        if same {
            tally.equal += 1;
        } else if got.stderr.contains("not supported by this version of bpftables") {
            let name = got.stderr.split_once(": ").map_or(&*got.stderr, |(_, rest)| rest);
            let name = name.split_once(" is known").map_or(name, |(name, _)| name);
            *tally.refused.entry(name.to_owned()).or_default() += 1;
        } else if got.stderr.contains(": Set ") && got.stderr.contains(" doesn't exist.") {
            // Another program made it, which is not replayed.
            *tally.refused.entry("a set".to_owned()).or_default() += 1;
        } else if !tally.refused.is_empty() {
            tally.diverged.push(call.seq);
        } else {
            tally.different.push(format!(
                "{name} {}: {}\n  expected {:?}\n  got      {:?}",
                call.seq,
                call.argv.join(" "),
                call.expected,
                got
            ));
        }
    }
    println!(
        "{name}: {} equal, {} refused by name {:?}, {} after a refusal, {} different",
        tally.equal,
        tally.refused.values().sum::<usize>(),
        tally.refused,
        tally.diverged.len(),
        tally.different.len()
    );
    for difference in tally.different.iter().take(10) {
        println!("{difference}");
    }
    tally
}

#[test]
fn kube_proxy_is_answered_as_by_legacy() {
    let tally = replay("kube-proxy-1.20.2");
    tally.differs_only_by(&[]);
    assert!(tally.equal >= 280);
}

#[test]
fn cni_plugins_are_answered_as_by_legacy() {
    let tally = replay("cni");
    tally.differs_only_by(&[]);
    assert!(tally.equal >= 184);
}

#[test]
fn fail2ban_is_answered_as_by_legacy() {
    let tally = replay("fail2ban");
    tally.differs_only_by(&[]);
    assert!(tally.equal >= 80);
}

#[test]
fn netavark_is_answered_as_by_legacy() {
    let tally = replay("netavark");
    tally.differs_only_by(&[]);
    assert!(tally.equal >= 306);
}

#[test]
fn ufw_is_answered_as_by_legacy_but_for_extensions_of_a_later_issue() {
    let tally = replay("ufw");
    tally.differs_only_by(&[]);
    assert!(tally.equal >= 1922);
}

#[test]
fn shorewall_is_answered_as_by_legacy_but_for_extensions_of_a_later_issue() {
    let tally = replay("shorewall");
    tally.differs_only_by(SHOREWALL_PROBES);
    assert!(tally.equal >= 308);
}
