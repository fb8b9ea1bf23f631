//! The xtables lock: what each way to wait for it does and says. Needs root and the binary under test; what is said here is asked of legacy
//! 1.8.11 too where `BPFTABLES_LEGACY` names its multi-call binary. (The installed legacy is 1.8.9, which waits without `-w`.)

use bpftables_compat_tests::cli::{Answer, Call, Place, words};
use bpftables_compat_tests::world::{Kind, Tools};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const RESTORE: &str = "*filter\n-A INPUT -j DROP\nCOMMIT\n";

/// A place for the binary under test, and one for legacy.
fn places() -> Vec<Place> {
    let mut places = vec![Place::new(Kind::Ours).expect("a place for the binary under test")];
    if let Some(legacy) = Tools::newest_legacy().expect("legacy's tools") {
        places.push(Place::with(legacy).expect("a place for legacy"));
    }
    places
}

fn call(place: &Place, line: &str) -> Answer {
    call_with(place, line, &[])
}

/// Runs a command; one that restores gets a ruleset. Versions, and where the tools and the lock are, are taken out.
fn call_with(place: &Place, line: &str, environment: &[(&str, &str)]) -> Answer {
    let stdin = if line.contains("-restore") { RESTORE } else { "" };
    let argv = words(line).expect("a command line");
    let mut answer = place.call_with(&Call { argv, stdin: stdin.into() }, environment).expect("the command can be run");
    let folder = format!("{}/", place.tools().dir.display());
    let lock = place.tools().lock_file();
    answer.stderr = answer
        .stderr
        .replace(&*lock.to_string_lossy(), "LOCK")
        .replace(&folder, "")
        .replace("1.8.11 (legacy)", "1.8.11")
        .replace("1.8.11 (bpf)", "1.8.11");
    answer
}

fn hold(path: &Path) -> File {
    let file = File::options().create(true).truncate(false).write(true).open(path).expect("the lock file");
    file.lock().expect("the lock is free");
    file
}

fn busy(advice: &str) -> String {
    format!(
        "Can't lock LOCK: Resource temporarily unavailable\nAnother app is currently holding the xtables lock. {advice}\n"
    )
}

const ADVICE: &str = "Perhaps you want to use the -w option?";
const INTERVAL: &str = "Ignoring deprecated --wait-interval option.\n";

#[test]
fn a_held_lock_ends_with_code_four_what_does_not_wait() {
    for p in places() {
        let held = hold(&p.tools().lock_file());
        for line in [
            "iptables -A INPUT -j DROP",
            "iptables -S INPUT",
            "iptables -L -Z",
            "iptables -w 0 -S",
            "iptables -w0 -S",
            "iptables --wait=0 -S",
            "iptables -t nope -S",
            "iptables -A NOPE -j ACCEPT",
            "ip6tables -S",
            "iptables-restore",
            "iptables-restore --test",
            "iptables-restore -w 0",
            "ip6tables-restore",
        ] {
            let start = Instant::now();
            let a = call(&p, line);
            assert_eq!((a.code, &*a.stderr, &*a.stdout), (Some(4), &*busy(ADVICE), ""), "{line}");
            assert!(start.elapsed() < Duration::from_secs(1), "{line}: {:?}", start.elapsed());
        }
        // What asks the lock for nothing.
        for line in ["iptables-save", "ip6tables-save", "iptables -h", "iptables -V", "iptables-restore -V"] {
            let a = call(&p, line);
            assert_eq!((a.code, &*a.stderr), (Some(0), ""), "{line}");
        }
        drop(held);
        assert_eq!(call(&p, "iptables -A INPUT -j DROP").code, Some(0));
        assert_eq!(call(&p, "iptables -S INPUT").stdout, "-P INPUT ACCEPT\n-A INPUT -j DROP\n");
    }
}

#[test]
fn waiting_with_a_limit_ends_after_it() {
    for p in places() {
        let _held = hold(&p.tools().lock_file());
        for (line, before, seconds) in [
            ("iptables -w 1 -A INPUT -j DROP", "", 1),
            ("iptables -w1 -S", "", 1),
            ("iptables --wait 1 -S", "", 1),
            ("iptables --wait=1 -S", "", 1),
            ("iptables -S INPUT -w 1", "", 1),
            ("iptables -w 1 -w 2 -S", "", 2),
            ("iptables -w 1x -S", "", 1),
            ("iptables -w 1 -W 100000 -S", INTERVAL, 1),
            ("iptables -w1 --wait-interval=0 -S", INTERVAL, 1),
            ("ip6tables -w 1 -S", "", 1),
            ("iptables-restore -w 1", "", 1),
            ("iptables-restore --wait=1 --wait-interval 5", INTERVAL, 1),
        ] {
            let start = Instant::now();
            let a = call(&p, line);
            let said = format!("{before}{}", busy(&format!("Stopped waiting after {seconds}s.")));
            assert_eq!((a.code, &*a.stderr), (Some(4), &*said), "{line}");
            let took = start.elapsed();
            assert!(took >= Duration::from_secs(seconds) - Duration::from_millis(100), "{line}: {took:?}");
            assert!(took < Duration::from_secs(seconds + 1), "{line}: {took:?}");
        }
    }
}

#[test]
fn who_waits_gets_the_lock_when_it_is_free() {
    for p in places() {
        for line in [
            "iptables -w -A INPUT -j DROP",
            "iptables --wait -W 100000 -A INPUT -j DROP",
            "iptables -w 5 -A INPUT -j DROP",
            "iptables -w 99999999999 -A INPUT -j DROP",
            "iptables -w 2147483648 -A INPUT -j DROP",
            "iptables-restore -w",
            "iptables-restore --wait 5 -W 100000",
            "ip6tables -w -S",
        ] {
            let held = hold(&p.tools().lock_file());
            let release = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(400));
                drop(held);
            });
            let start = Instant::now();
            let a = call(&p, line);
            let said = if line.contains("-W") { INTERVAL } else { "" };
            assert_eq!((a.code, &*a.stderr), (Some(0), said), "{line}");
            assert!(start.elapsed() >= Duration::from_millis(300), "{line}: {:?}", start.elapsed());
            release.join().expect("the lock was held by a thread");
        }
    }
}

#[test]
fn what_is_no_time_to_wait_is_refused_before_the_lock_is_asked_for() {
    let help = |program: &str| format!("Try `{program} -h' or '{program} --help' for more information.\n");
    let of = |text: &str| format!("iptables v1.8.11: {text}\n{}", help("iptables"));
    let restores = |text: &str, line: u32| {
        format!("iptables-restore v1.8.11: {text}\nError occurred at line: {line}\n{}", help("iptables-restore"))
    };
    for p in places() {
        let _held = hold(&p.tools().lock_file());
        for (line, code, said) in [
            ("iptables -w x -S", 2, of("wait seconds not numeric")),
            ("iptables -w -1 -S", 2, of("unknown option \"-1\"")),
            ("iptables --wai 1 -S", 2, of("unknown option \"--wai\"")),
            ("iptables -w 1 -W -S", 2, of("wait interval value required")),
            ("iptables -w 1 -W x -S", 2, of("wait interval not numeric")),
            ("iptables -w 1 -W 1000000 -S", 2, of("too long usec wait 1000000 > 999999 usec")),
            ("iptables -W 5 -S", 2, format!("{INTERVAL}{}", of("--wait-interval only makes sense with --wait\n"))),
            ("iptables-restore -w x", 2, restores("wait seconds not numeric", 0)),
            ("iptables-restore -W x", 2, restores("wait interval not numeric", 0)),
            ("iptables-restore -W 5", 1, format!("{INTERVAL}Option --wait-interval requires option --wait\n")),
            (
                "iptables-restore -w1",
                1,
                "iptables-restore: invalid option -- '1'\nTry `iptables-restore -h' for more information.\n".to_owned(),
            ),
        ] {
            let a = call(&p, line);
            assert_eq!((a.code, a.stderr), (Some(code), said), "{line}");
        }
    }
}

#[test]
fn the_lock_is_where_the_environment_says() {
    for p in places() {
        let other: PathBuf = p.tools().dir.join("another.lock");
        let place = other.to_string_lossy().into_owned();
        let held = hold(&other);
        let there = [("XTABLES_LOCKFILE", place.as_str())];
        let a = call_with(&p, "iptables -S", &there);
        assert_eq!(a.code, Some(4));
        assert_eq!(a.stderr, busy(ADVICE).replace("LOCK", "another.lock"));
        assert_eq!(call(&p, "iptables -S INPUT").code, Some(0), "that of another file is free");
        drop(held);
        assert_eq!(call_with(&p, "iptables -S", &there).code, Some(0));
        let lock = hold(&p.tools().lock_file());
        assert_eq!(call_with(&p, "iptables -S", &there).code, Some(0));
        drop(lock);
        for (place, why) in [("/nonexistent/lock", "No such file or directory"), ("/tmp", "Is a directory")] {
            for line in ["iptables -S", "iptables -w 1 -S", "iptables-restore", "ip6tables-restore -w"] {
                let a = call_with(&p, line, &[("XTABLES_LOCKFILE", place)]);
                let said = format!("Fatal: can't open lock file {place}: {why}\n");
                assert_eq!((a.code, a.stderr), (Some(4), said), "{line}");
            }
            assert_eq!(call_with(&p, "iptables -V", &[("XTABLES_LOCKFILE", place)]).code, Some(0));
        }
    }
}

#[test]
fn a_command_holds_the_lock_for_others_of_both_kinds() {
    for p in places() {
        let path = p.tools().lock_file();
        // A restore that waits for its input has the lock from the first table on.
        let mut restore = p.start("iptables-restore", &["-w"]).expect("a restore");
        let mut input = restore.stdin.take().expect("its input");
        input.write_all(b"*filter\n").expect("input");
        let file = File::options().create(true).truncate(false).write(true).open(&path).expect("the lock file");
        let begin = Instant::now();
        while file.try_lock().is_ok() {
            file.unlock().expect("our own lock");
            assert!(begin.elapsed() < Duration::from_secs(5), "the restore takes no lock");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(call(&p, "iptables -S").code, Some(4));
        input.write_all(b"COMMIT\n").expect("input");
        drop(input);
        assert!(restore.wait().expect("its end").success());
        assert!(file.try_lock().is_ok(), "it is free again");
    }
}
