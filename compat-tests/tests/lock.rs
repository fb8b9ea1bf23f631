//! The xtables lock as iptables 1.8.11 holds it. Needs root and the binary under test.
//!
//! Legacy 1.8.9 waits without `-w`, so the words here are those of 1.8.11, not a comparison.

use bpftables_compat_tests::cli::{Answer, Call, Place};
use bpftables_compat_tests::world::Kind;
use std::fs::File;
use std::time::{Duration, Instant};

fn place() -> Place {
    Place::new(Kind::Ours).expect("a place for the binary under test")
}

fn call(place: &Place, line: &str, stdin: &str) -> Answer {
    let argv = line.split_whitespace().map(ToString::to_string).collect();
    place.call(&Call { argv, stdin: stdin.into() }).expect("the command can be run")
}

fn hold(place: &Place) -> File {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(place.tools().lock_file())
        .expect("the lock file");
    file.lock().expect("the lock is free");
    file
}

/// What a command says that does not get the lock; legacy 1.8.9 says the same with `-w 1`.
fn busy(place: &Place, advice: &str) -> String {
    let file = place.tools().lock_file();
    format!(
        "Can't lock {}: Resource temporarily unavailable\nAnother app is currently holding the xtables lock. {advice}\n",
        file.display()
    )
}

#[test]
fn a_held_lock_ends_a_command_with_code_four_at_once() {
    let p = place();
    let held = hold(&p);
    let start = Instant::now();
    let a = call(&p, "iptables -A INPUT -j DROP", "");
    assert_eq!(a.code, Some(4), "{a:?}");
    assert_eq!(a.stderr, busy(&p, "Perhaps you want to use the -w option?"));
    assert!(start.elapsed() < Duration::from_secs(1));
    drop(held);
    assert_eq!(call(&p, "iptables -A INPUT -j DROP", "").code, Some(0));
    assert_eq!(call(&p, "iptables -S INPUT", "").stdout, "-P INPUT ACCEPT\n-A INPUT -j DROP\n");
}

#[test]
fn waiting_with_a_limit_ends_after_it() {
    let p = place();
    let _held = hold(&p);
    let start = Instant::now();
    let a = call(&p, "iptables -w 1 -A INPUT -j DROP", "");
    assert_eq!(a.code, Some(4), "{a:?}");
    assert_eq!(a.stderr, busy(&p, "Stopped waiting after 1s."));
    assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
}

#[test]
fn waiting_without_a_limit_gets_the_lock_when_it_is_free() {
    let p = place();
    let held = hold(&p);
    let release = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(400));
        drop(held);
    });
    let start = Instant::now();
    let a = call(&p, "iptables -w -A INPUT -j DROP", "");
    assert_eq!((a.code, a.stderr.as_str()), (Some(0), ""));
    assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
    release.join().expect("the lock was held by a thread");
}

#[test]
fn restore_waits_for_the_lock_and_save_does_not() {
    let p = place();
    let held = hold(&p);
    let a = call(&p, "iptables-restore", "*filter\n-A INPUT -j DROP\nCOMMIT\n");
    assert_eq!(a.code, Some(4), "{a:?}");
    let a = call(&p, "iptables-save", "");
    assert_eq!(a.code, Some(0), "save never waits: {a:?}");
    drop(held);
    let a = call(&p, "iptables-restore -w 5 -W 100000", "*filter\n-A INPUT -j DROP\nCOMMIT\n");
    assert_eq!(a.code, Some(0), "{a:?}");
}
