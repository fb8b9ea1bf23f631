//! Whole sessions of command lines against what legacy 1.8.11 answers: exit code, standard output and standard error of every call.
//!
//! `tests/sessions/*.txt` holds sessions with legacy's recorded answers, which are always compared. With the path of legacy's multi-call
//! binary in `BPFTABLES_LEGACY` (and root, for a network namespace), the recordings are checked against it as well, made anew where
//! `BPFTABLES_RECORD` is set, and random sessions are tried under both.

#[path = "../common/mod.rs"]
mod common;
mod generate;
mod legacy;
mod session;

use common::Host;
use generate::Generator;
use legacy::Legacy;
use session::{Answer, Call, Session};
use std::path::{Path, PathBuf};

/// The files of recorded sessions, in a stable order.
fn recordings() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sessions");
    let mut files: Vec<_> = folder.read_dir().expect("sessions").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

/// Ours.
fn answers(session: &Session) -> Vec<Answer> {
    // A child of another test that has not come to its exec(2) yet would hold our lock for a moment longer.
    let mut host = Host::default();
    host.locks = false;
    let calls = session.calls.iter();
    calls.map(|call| Answer::of(host.run_with(&call.words(), call.stdin.as_bytes()))).collect()
}

/// The first of a session's recorded answers that `found` differs from, where there is one.
fn difference(session: &Session, found: &[Answer]) -> Option<String> {
    let (call, found) = session.calls.iter().zip(found).find(|(call, found)| call.answer != **found)?;
    let (theirs, ours) = (call.answer.shown(), found.shown());
    Some(format!("### {}\n{}  legacy:\n{theirs}  ours:\n{ours}", session.name, call.heading()))
}

#[test]
fn recorded_sessions_are_answered_as_legacy_did() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for path in recordings() {
        let text = std::fs::read_to_string(&path).expect("a file of sessions");
        for session in session::parse(&text) {
            count += session.calls.len();
            wrong.extend(difference(&session, &answers(&session)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
    assert!(count > 100, "only {count} calls were compared");
}

#[test]
fn recordings_are_what_legacy_answers() {
    let Some(legacy) = Legacy::from_environment() else { return };
    for path in recordings() {
        let text = std::fs::read_to_string(&path).expect("a file of sessions");
        let mut sessions = session::parse(&text);
        for session in &mut sessions {
            let recorded = legacy.answers(session);
            session.record(recorded);
        }
        let made = session::print(&text, &sessions);
        if std::env::var_os("BPFTABLES_RECORD").is_some() {
            std::fs::write(&path, made).expect("a file of sessions");
        } else {
            assert!(made == text, "{} is not what legacy answers", path.display());
        }
    }
}

/// `BPFTABLES_SESSIONS` sets how many, `BPFTABLES_SEED` which.
#[test]
fn random_sessions_are_answered_as_by_legacy() {
    let Some(legacy) = Legacy::from_environment() else { return };
    let number = |name: &str, default| match std::env::var(name) {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => default,
    };
    let (seed, count) = (number("BPFTABLES_SEED", 1), number("BPFTABLES_SESSIONS", 300));
    let mut generator = Generator::new(seed);
    let mut wrong = Vec::new();
    for index in 0..count {
        let mut session = generator.session(format!("session {index} of seed {seed}"));
        let recorded = legacy.answers(&session);
        session.record(recorded);
        wrong.extend(difference(&session, &answers(&session)));
    }
    assert!(wrong.is_empty(), "{}{} of {count} sessions differ", wrong.concat(), wrong.len());
}

#[test]
fn options_by_twos_and_threes_are_answered_as_by_legacy() {
    let Some(legacy) = Legacy::from_environment() else { return };
    let mut wrong = Vec::new();
    let mut count = 0;
    for mut session in Generator::new(0).combinations() {
        count += session.calls.len();
        let recorded = legacy.answers(&session);
        session.record(recorded);
        wrong.extend(difference(&session, &answers(&session)));
    }
    assert!(wrong.is_empty(), "{}{} sessions differ", wrong.concat(), wrong.len());
    assert!(count > 5000, "only {count} combinations");
}

/// The rulesets of `BPFTABLES_CORPUS`: restored, saved, listed, and restored from their own save.
#[test]
fn real_rulesets_are_answered_as_by_legacy() {
    let Some(legacy) = Legacy::from_environment() else { return };
    let Some(corpus) = std::env::var_os("BPFTABLES_CORPUS") else {
        eprintln!("skipped: BPFTABLES_CORPUS names no folder of rulesets");
        return;
    };
    let files = Path::new(&corpus).join("rulesets").read_dir().expect("rulesets");
    let mut wrong = Vec::new();
    let mut count = 0;
    for path in files.map(|entry| entry.expect("an entry").path()) {
        let program = match path.extension().and_then(|extension| extension.to_str()) {
            Some("v4") => "iptables",
            Some("v6") => "ip6tables",
            _ => continue,
        };
        count += 1;
        let text = String::from_utf8_lossy(&std::fs::read(&path).expect("a ruleset")).into_owned();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let mut session = Session { name, calls: vec![Call::command(&format!("{program}-restore -c"), text)] };
        let look = |session: &mut Session| {
            for command in ["-save", "-save -c"] {
                session.calls.push(Call::command(&format!("{program}{command}"), String::new()));
            }
            for table in ["filter", "nat", "mangle", "raw", "security"] {
                for command in ["-S", "-L -n -v -x", "-L -n --line-numbers"] {
                    session.calls.push(Call::command(&format!("{program} -t {table} {command}"), String::new()));
                }
            }
        };
        look(&mut session);
        let saved = legacy.answers(&session).swap_remove(2).stdout;
        session.calls.push(Call::command(&format!("{program}-restore -c"), saved));
        look(&mut session);
        let recorded = legacy.answers(&session);
        session.record(recorded);
        wrong.extend(difference(&session, &answers(&session)));
    }
    assert!(wrong.is_empty(), "{}{} of {count} rulesets differ", wrong.concat(), wrong.len());
    assert!(count > 55, "only {count} rulesets");
}
