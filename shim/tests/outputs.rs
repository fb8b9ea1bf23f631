//! Where the agent writes events: what lines tell, and what it does with a disk that is full. Needs root, ipset, tcpdump and unshare.

#[path = "common/daemon.rs"]
mod daemon;
#[path = "common/listener.rs"]
mod listener;
#[path = "../../runtime/tests/common/mod.rs"]
mod netns;
#[path = "common/own.rs"]
mod own;

use bpftables_runtime::sys::ns;
use bpftables_runtime::{Outputs, Sink};
use daemon::Agent;
use listener::Listener;
use netns::{Other, in_namespace, ip};
use own::temporary;
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The binary.
const BINARY: &str = env!("CARGO_BIN_EXE_xtables-bpf-multi");
const RULES: &str = "*filter
-A INPUT -p udp -m udp --dport 9999 -j LOG --log-prefix in:
-A INPUT -p udp -m udp --dport 9999 -j NFLOG --nflog-group 9
-A INPUT -p udp -m udp --dport 9999 -j SET --add-set seen src,src
COMMIT
";

fn run(program: &str, words: &[&str], stdin: &str) -> Output {
    let mut command = Command::new(program);
    command.args(words).env("XTABLES_LOCKFILE", temporary("lock"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&out.stderr));
    out
}

fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(15), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// How many of a statistic of IPv4's `bpftables status` tells.
fn statistic(name: &str) -> u64 {
    let status = String::from_utf8(run(BINARY, &["bpftables", "status"], "").stdout).unwrap();
    let count = status.lines().find_map(|line| line.strip_prefix(&format!("statistic    {name} ")));
    count.map_or(0, |count| count.split(':').next().unwrap().parse().unwrap())
}

/// An agent in a mount namespace of its own, where /mnt is a small disk.
struct OnASmallDisk {
    agent: Agent,
    /// What it says.
    said: PathBuf,
}

impl OnASmallDisk {
    fn start() -> Self {
        let said = temporary("said");
        let script = "mount -t tmpfs -o size=128k none /mnt && \
                      exec \"$0\" bpftablesd --this-namespace --log-to /mnt/log --nflog-to /mnt/packets";
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", script, BINARY]).env("NO_COLOR", "1");
        command.stdout(Stdio::null()).stderr(File::create(&said).unwrap());
        Self { agent: Agent(command.spawn().unwrap()), said }
    }

    /// A file on the disk.
    fn file(&self, name: &str) -> PathBuf {
        format!("/proc/{}/root/mnt/{name}", self.agent.0.id()).into()
    }

    fn lines(&self) -> Vec<String> {
        String::from_utf8(fs::read(self.file("log")).unwrap_or_default()).unwrap().lines().map(str::to_owned).collect()
    }

    /// What tcpdump reads in the packets' file, to its end.
    fn packets(&self) -> Vec<String> {
        let copy = temporary("packets");
        fs::copy(self.file("packets"), &copy).unwrap();
        let out = run("tcpdump", &["-n", "-r", copy.to_str().unwrap()], "");
        let _ = fs::remove_file(copy);
        String::from_utf8(out.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    fn says(&self, what: &str) -> Vec<String> {
        let said = fs::read_to_string(&self.said).unwrap();
        said.lines().filter(|line| line.contains(what)).map(str::to_owned).collect()
    }
}

impl Drop for OnASmallDisk {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.said);
    }
}

#[test]
fn a_full_disk_keeps_no_listener_or_set_waiting_and_leaves_no_half_a_record() {
    in_namespace(|| {
        ip("link set lo up\n");
        run("ipset", &["create", "seen", "hash:ip,port"], "");
        run(BINARY, &["iptables-restore"], RULES);
        let disk = OnASmallDisk::start();
        let here = UdpSocket::bind("127.0.0.1:9999").unwrap();
        let send = |bytes: usize| {
            let from = UdpSocket::bind("127.0.0.1:0").unwrap();
            from.send_to(&vec![7; bytes], "127.0.0.1:9999").unwrap();
            here.recv(&mut [0; 2000]).unwrap();
            from.local_addr().unwrap().port()
        };
        eventually("the agent writes", || {
            send(1);
            std::thread::sleep(Duration::from_millis(50));
            !disk.lines().is_empty() && disk.file("packets").metadata().is_ok_and(|file| file.len() > 0)
        });
        let listener = Listener::new(9, 0xffff);
        let mut filler = OpenOptions::new().create(true).append(true).open(disk.file("filler")).unwrap();
        while filler.write(&[0; 4096]).is_ok() {}

        // Each file has some room left in its last page, so that one record does not fit as a whole.
        for _ in 0..60 {
            send(1001);
        }
        assert_eq!(listener.take(60).len(), 60, "the group's listener gets what the file does not");
        let lost = statistic("event_unwritten");
        assert!(lost >= 60, "{lost}");
        assert!(statistic("event_lost") >= lost);
        // Each event is one that fails: sets are changed all the same, and not when the settings are read next.
        for _ in 0..10 {
            let (begin, port) = (Instant::now(), send(1001));
            let listed = || String::from_utf8(run("ipset", &["save", "seen"], "").stdout).unwrap();
            while !listed().contains(&format!("add seen 127.0.0.1,udp:{port}\n")) {
                assert!(begin.elapsed() < Duration::from_secs(10), "the set never changes");
            }
            assert!(begin.elapsed() < Duration::from_secs(1), "after {:?}", begin.elapsed());
        }
        assert_eq!(disk.says("No space left on device").len(), 2, "one line for each file: {:#?}", disk.says(""));

        fs::remove_file(disk.file("filler")).unwrap();
        drop(filler);
        std::thread::sleep(Duration::from_millis(1100));
        let lost = statistic("event_unwritten");
        send(12);
        eventually("lines are written again", || disk.lines().last().is_some_and(|line| line.contains(" LEN=40 ")));
        let lines = disk.lines();
        let whole = |line: &String| {
            line.matches("in:IN=lo").count() == 1
                && line.contains(" warning: in:IN=lo ")
                && line.contains(" DPT=9999 LEN=")
        };
        assert!(lines.iter().all(whole), "half a line, or two: {lines:#?}");
        eventually("packets are written again", || disk.packets().iter().any(|line| line.ends_with("length 12")));
        eventually("it tells that it is over", || disk.says("failures=").len() == 2);
        let told = disk.says("failures=").into_iter().map(|line| {
            let (_, count) = line.split_once("failures=").unwrap();
            count.split(' ').next().unwrap().parse::<u64>().unwrap()
        });
        assert_eq!(told.sum::<u64>(), lost, "what is told is what is counted");
    });
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

#[test]
fn what_waited_for_an_agent_has_the_time_at_which_it_was() {
    in_namespace(|| {
        let files = [temporary("waited.log"), temporary("waited.packets")];
        let rules = "*filter\n-A OUTPUT -p udp -j LOG --log-level 6\n-A OUTPUT -p udp -j NFLOG\nCOMMIT\n";
        run(BINARY, &["iptables-restore"], rules);
        let before = now();
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"x", "127.0.0.1:9").unwrap();
        let after = now();
        std::thread::sleep(Duration::from_millis(1500));
        let [log, packets] = [0, 1].map(|at| files[at].to_str().unwrap());
        let _agent = Agent::start(&["--log-to", log, "--nflog-to", packets]);
        let line = || fs::read_to_string(&files[0]).unwrap_or_default();
        eventually("they are written", || {
            line().ends_with('\n') && fs::read(&files[1]).is_ok_and(|all| !all.is_empty())
        });
        let line = line();
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(rest.starts_with("info: IN= OUT=lo SRC=127.0.0.1 DST=127.0.0.1 "), "{line}");
        let seconds = |out: Output| {
            let text = String::from_utf8(out.stdout).unwrap();
            text.split_whitespace().next().unwrap().parse::<f64>().unwrap()
        };
        for time in [
            seconds(run("date", &["-u", "-d", time, "+%s.%N"], "")),
            seconds(run("tcpdump", &["-tt", "-n", "-r", packets], "")),
        ] {
            assert!((before - 0.1..after + 0.1).contains(&time), "{time} is not between {before} and {after}");
        }
        files.iter().for_each(|file| fs::remove_file(file).unwrap());
    });
}

#[test]
fn lines_of_several_namespaces_tell_which_one() {
    in_namespace(|| {
        let there = Other::new();
        let cookies = [ns::netns_cookie().unwrap(), there.run(|| ns::netns_cookie().unwrap())];
        let file = temporary("several.log");
        let rules = || {
            run(BINARY, &["iptables", "-A", "OUTPUT", "-p", "udp", "-j", "LOG"], "");
            UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"x", "127.0.0.1:9").unwrap();
        };
        rules();
        there.run(rules);
        let outputs = Outputs { lines: Sink::File(file.clone()), packets: None };
        let mut agent =
            bpftables_runtime::Agent::open(Some(BTreeSet::from(cookies)), outputs).unwrap().expect("no other");
        let written = || fs::read_to_string(&file).unwrap_or_default();
        eventually("both write", || {
            agent.look().unwrap();
            written().lines().count() == 2
        });
        for cookie in cookies {
            assert!(written().contains(&format!("Z warning cookie/{cookie:x}: IN= OUT=lo ")), "{}", written());
        }
        drop(agent);
        there.run(|| drop(run(BINARY, &["bpftables", "uninstall-hooks"], "")));
        fs::remove_file(file).unwrap();
    });
}

#[test]
fn sighup_opens_files_anew_and_ends_nothing() {
    in_namespace(|| {
        let [log, packets] = ["hup.log", "hup.packets"].map(temporary);
        let [old_log, old_packets] = ["hup.log.1", "hup.packets.1"].map(temporary);
        run(BINARY, &["iptables-restore"], "*filter\n-A OUTPUT -p udp -j LOG\n-A OUTPUT -p udp -j NFLOG\nCOMMIT\n");
        let mut agent = Agent::start(&["--log-to", log.to_str().unwrap(), "--nflog-to", packets.to_str().unwrap()]);
        let send = |bytes: usize| {
            UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&vec![7; bytes], "127.0.0.1:9").unwrap();
        };
        let size = |file: &PathBuf| file.metadata().map_or(0, |file| file.len());
        send(1);
        eventually("it writes", || size(&log) > 0 && size(&packets) > 0);
        fs::rename(&log, &old_log).unwrap();
        fs::rename(&packets, &old_packets).unwrap();
        let before = [size(&old_log), size(&old_packets)];
        let kill = |signal: &str, id: u32| drop(run("kill", &[signal, &id.to_string()], ""));
        kill("-HUP", agent.0.id());
        eventually("there are files again", || packets.exists() && log.exists());
        send(12);
        eventually("it writes into them", || size(&log) > 0 && size(&packets) > 0);
        let text = run("tcpdump", &["-n", "-r", packets.to_str().unwrap()], "").stdout;
        assert!(String::from_utf8(text).unwrap().trim_end().ends_with("UDP, length 12"), "a section of its own");
        assert_eq!([size(&old_log), size(&old_packets)], before, "the old ones are whole");
        assert!(agent.0.try_wait().unwrap().is_none(), "it goes on");
        kill("-TERM", agent.0.id());
        assert_eq!(agent.0.wait().unwrap().code(), Some(0));
        [log, packets, old_log, old_packets].iter().for_each(|file| fs::remove_file(file).unwrap());
    });
}
