//! Legacy itself, in network namespaces of its own.

use super::common::names::{PINNED, SETS};
use super::session::{Answer, Session};
use bpftables_runtime::sys::bpf::{nf, pin};
use std::fmt::Write as _;
use std::fs;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// The programs of legacy 1.8.11.
pub(crate) struct Legacy {
    /// With links by all names, and what a session leaves.
    folder: PathBuf,
    _pinned: Pinned,
}

/// The program that sessions find pinned, while one of these lives.
struct Pinned;

/// How many there are.
static PINS: Mutex<usize> = Mutex::new(0);

impl Pinned {
    fn new() -> Self {
        let mut pins = PINS.lock().expect("the count");
        if *pins == 0 {
            let _ = fs::remove_file(PINNED);
            // A filter of sockets that takes every packet: r0 = 1, exit.
            let instructions = [0x0000_0001_0000_00b7, 0x95];
            let filter = nf::Load { name: "yes", prog_type: 1, attach_type: 0, btf_id: 0, instructions: &instructions };
            let program = nf::load(&filter).expect("a program of BPF needs root");
            pin(program.as_fd(), Path::new(PINNED)).expect("bpffs");
        }
        *pins += 1;
        Self
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let mut pins = PINS.lock().expect("the count");
        *pins -= 1;
        if *pins == 0 {
            let _ = fs::remove_file(PINNED);
        }
    }
}

const NAMES: &[&str] = &[
    "iptables",
    "iptables-save",
    "iptables-restore",
    "iptables-xml",
    "ip6tables",
    "ip6tables-save",
    "ip6tables-restore",
];

impl Legacy {
    /// The one whose multi-call binary `BPFTABLES_LEGACY` names.
    pub(crate) fn from_environment() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let Some(binary) = std::env::var_os("BPFTABLES_LEGACY") else {
            eprintln!("skipped: BPFTABLES_LEGACY names no binary of legacy 1.8.11");
            return None;
        };
        let version = Command::new(&binary).args(["iptables", "-V"]).output().expect("legacy's binary");
        assert_eq!(String::from_utf8_lossy(&version.stdout), "iptables v1.8.11 (legacy)\n");
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("bpftables-legacy-{}-{number}", std::process::id()));
        fs::create_dir_all(folder.join("bin")).expect("a folder");
        for name in NAMES {
            std::os::unix::fs::symlink(&binary, folder.join("bin").join(name)).expect("a link");
        }
        Some(Self { folder, _pinned: Pinned::new() })
    }

    /// Its answers to the calls of a session.
    pub(crate) fn answers(&self, session: &Session) -> Vec<Answer> {
        let mut script = format!("export XTABLES_LOCKFILE={0}/lock PATH={0}/bin:$PATH\n", self.folder.display());
        let words = |call: &super::session::Call| call.argv.iter().any(|word| word == "set" || word == "SET");
        let restores = |call: &super::session::Call| call.stdin.contains("set") || call.stdin.contains("SET");
        if session.calls.iter().any(|call| words(call) || restores(call)) {
            for set in SETS {
                writeln!(script, "ipset create {set} || exit").expect("a string");
            }
        }
        let file = |kind: &str, index: usize| self.folder.join(format!("{kind}{index}"));
        for (index, call) in session.calls.iter().enumerate() {
            fs::write(file("in", index), &call.stdin).expect("a file");
            for word in &call.argv {
                write!(script, "'{}' ", word.replace('\'', "'\\''")).expect("a string");
            }
            let [input, out, err, code] =
                ["in", "out", "err", "code"].map(|kind| file(kind, index).display().to_string());
            writeln!(script, "<{input} >{out} 2>{err}; echo $? >{code}").expect("a string");
        }
        let path = self.folder.join("script");
        fs::write(&path, script).expect("a file");
        let status = Command::new("unshare").args(["-n", "sh"]).arg(path).status().expect("unshare");
        assert!(status.success(), "a network namespace needs root");
        let read = |kind, index| String::from_utf8_lossy(&fs::read(file(kind, index)).expect("an answer")).into_owned();
        (0..session.calls.len())
            .map(|index| {
                let code = read("code", index).trim().parse().expect("an exit code");
                Answer::new(code, &read("out", index), &as_shared(&read("err", index)))
            })
            .collect()
    }
}

/// A binary that has its extensions built in has other words for one that is not there than one that looks for files, as distributions' do.
fn as_shared(text: &str) -> String {
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        match line.split_once(": Couldn't find ") {
            Some((before, what)) => {
                out += &format!("{before}: Couldn't load {}:No such file or directory\n", what.trim_end_matches('\n'));
            }
            None => out += line,
        }
    }
    out
}

impl Drop for Legacy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
