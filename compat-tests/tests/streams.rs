//! What is written where and when: programs that talk to a restore line by line, and errors between what is printed. Needs root, legacy and
//! the binary under test.

use bpftables_compat_tests::cli::{Call, Place, words};
use bpftables_compat_tests::world::Kind;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::sync::mpsc::channel;
use std::time::Duration;

const KINDS: [Kind; 2] = [Kind::Legacy, Kind::Ours];

fn call(place: &Place, line: &str) -> (Option<i32>, String) {
    let answer = place.call(&Call { argv: words(line).expect("words"), stdin: String::new() }).expect("an answer");
    (answer.code, answer.stdout)
}

/// Some keep a restore running, give it tables one by one, and find out by an echoed comment that what they gave was dealt with.
#[test]
fn a_restore_deals_with_each_line_before_it_waits_for_the_next() {
    for kind in KINDS {
        let p = Place::new(kind).expect("a place");
        let mut restore = p.start("iptables-restore", &["--noflush", "-w", "-v"]).expect("a restore");
        let mut input = restore.stdin.take().expect("its input");
        let (lines, heard) = channel();
        let output = restore.stdout.take().expect("its output");
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        for (number, rule) in ["-A INPUT -s 10.0.0.1/32 -j DROP", "-A INPUT -s 10.0.0.2/32 -j DROP"].iter().enumerate()
        {
            write!(input, "*filter\n{rule}\nCOMMIT\n# heard {number}\n").expect("input");
            let echo = heard.recv_timeout(Duration::from_secs(10)).expect("an echo while the input stays open");
            assert_eq!(echo, format!("# heard {number}"), "{kind:?}");
            // The rules are there, and the lock is free.
            let (code, text) = call(&p, "iptables -S INPUT");
            assert_eq!(
                (code, text.lines().count(), text.lines().last()),
                (Some(0), 2 + number, Some(*rule)),
                "{kind:?}"
            );
        }
        drop(input);
        assert!(restore.wait().expect("its end").success());
        reader.join().expect("the reader");
    }
}

/// Standard output and standard error by one pipe, as `2>&1 |` has them.
fn together(place: &Place, line: &str) -> String {
    let argv = words(line).expect("words");
    let (mut pipe, end) = std::io::pipe().expect("a pipe");
    let arguments: Vec<&str> = argv[1..].iter().map(String::as_str).collect();
    let mut child = place.start_into(&argv[0], &arguments, &end).expect("a command");
    drop(end);
    let mut text = String::new();
    pipe.read_to_string(&mut text).expect("text");
    child.wait().expect("its end");
    text
}

#[test]
fn in_one_pipe_the_error_stands_before_what_was_printed() {
    let answers = KINDS.map(|kind| {
        let p = Place::new(kind).expect("a place");
        assert_eq!(call(&p, "iptables -N UC").0, Some(0));
        let lines = [
            "iptables -v -D INPUT -s 10.0.0.1 -j DROP",
            "iptables -v -A INPUT -s 10.0.0.1,10.0.0.2 -j REJECT --reject-with tcp-reset",
            "iptables -v -E UC INPUT",
            "iptables -v -X NONE",
            "iptables -L NONE",
        ];
        lines.map(|line| together(&p, line))
    });
    assert_eq!(answers[0], answers[1]);
    assert!(answers[0][0].starts_with("iptables: Bad rule"), "{:?}", answers[0]);
    assert!(answers[0][0].ends_with("10.0.0.1  -> 0.0.0.0/0  \n"), "{:?}", answers[0]);
}
