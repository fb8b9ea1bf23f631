//! Legacy itself, in network namespaces of its own.

use super::session::{Answer, Session};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// The programs of legacy 1.8.11.
pub(crate) struct Legacy {
    /// With links by all names, and what a session leaves.
    folder: PathBuf,
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
        Some(Self { folder })
    }

    /// Its answers to the calls of a session.
    pub(crate) fn answers(&self, session: &Session) -> Vec<Answer> {
        let mut script = format!("export XTABLES_LOCKFILE={0}/lock PATH={0}/bin:$PATH\n", self.folder.display());
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
