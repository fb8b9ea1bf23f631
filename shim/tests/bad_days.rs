//! What is missing, full, forbidden or broken: one clear message each, and the live ruleset as it was. Needs root.

#[path = "../../runtime/tests/common/mod.rs"]
mod netns;

use bpftables_abi::image::Header;
use bpftables_ruleset::Family;
use bpftables_runtime::Engine;
use bpftables_runtime::sys::bpf::{self, Map};
use bpftables_runtime::sys::mmap::Mapping;
use bpftables_runtime::sys::ns;
use netns::in_namespace;
use std::mem::offset_of;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// The binary under its names, where every user reaches it.
struct Names(PathBuf);

impl Names {
    fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("bpftables-bad-days-{:x}", ns::netns_cookie().unwrap()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::copy(env!("CARGO_BIN_EXE_xtables-bpf-multi"), dir.join("xtables-bpf-multi")).unwrap();
        for name in ["iptables", "iptables-save", "iptables-restore", "bpftables", "bpftablesd"] {
            symlink("xtables-bpf-multi", dir.join(name)).unwrap();
        }
        Self(dir)
    }

    /// Exit code and all output of a script in this network namespace.
    fn script(&self, text: &str) -> (i32, String) {
        let path = format!("{}:{}", self.0.display(), std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("bash");
        command.args(["-c", &format!("exec 2>&1\n{text}")]).env("PATH", path);
        let out = command.env("XTABLES_LOCKFILE", self.0.join("lock")).output().unwrap();
        (out.status.code().unwrap(), String::from_utf8(out.stdout).unwrap())
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Whether a datagram to this host's own port arrives.
fn arrives(port: u16) -> bool {
    let at = UdpSocket::bind(("127.0.0.1", port)).unwrap();
    at.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let _ = UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"x", ("127.0.0.1", port));
    at.recv(&mut [0; 8]).is_ok()
}

const NOBODY: &str = "setpriv --reuid 65534 --regid 65534 --clear-groups";

#[test]
fn who_may_not_and_what_is_not_there_is_said_and_changes_nothing() {
    in_namespace(|| {
        let names = Names::new();
        assert_eq!(names.script("iptables -A INPUT -p udp --dport 9 -j DROP"), (0, String::new()));
        let (_, before) = names.script("iptables -S");
        let initialize = "iptables v1.8.11 (bpf): can't initialize iptables table `filter': ";
        let upgrade = "\nPerhaps iptables or your kernel needs to be upgraded.\n";
        let denied = format!("{initialize}Permission denied (you must be root){upgrade}");
        let lock = names.0.join("lock");
        // Root is told what it lacks.
        let without = |all: &str, command: &str| format!("setpriv --bounding-set={all} --inh-caps={all} {command}");
        let lacks = |what: &str, why: &str| format!("{what}: permission denied ({why})");
        let look = |why: &str| format!("{initialize}{}\n", lacks("cannot look at the rules", why));
        let image = |why: &str| lacks("cannot open the image in slot 1", why);
        let (both, user) = (
            "-bpf,-sys_admin,-net_admin",
            "eBPF needs capabilities of the first user namespace, and this process is in another one",
        );
        let cases = [
            // Legacy's words and codes; the lock file is the first thing that both meet.
            (format!("{NOBODY} iptables -A INPUT -j DROP"), 4, format!("Fatal: can't open lock file {}: Permission denied\n", lock.display())),
            (format!("XTABLES_LOCKFILE=/dev/null {NOBODY} iptables -A INPUT -j DROP"), 3, denied.clone()),
            (format!("{NOBODY} iptables-save"), 1, "iptables-save v1.8.11 (bpf): Cannot initialize: Permission denied (you must be root)\n".to_owned()),
            (without(both, "iptables -A INPUT -j DROP"), 3, look("missing: CAP_NET_ADMIN, CAP_SYS_ADMIN")),
            (without("-net_admin", "iptables -A INPUT -j DROP"), 3, look("missing: CAP_NET_ADMIN")),
            (
                without("-net_admin", "iptables-save"),
                1,
                format!("iptables-save v1.8.11 (bpf): Cannot initialize: {}\n", lacks("cannot look at the rules", "missing: CAP_NET_ADMIN")),
            ),
            (without("-sys_admin,-bpf", "iptables -A INPUT -j DROP"), 3, format!("{initialize}{}\n", image("missing: CAP_SYS_ADMIN"))),
            (without("-sys_admin,-bpf", "bpftables status"), 1, format!("bpftables: {}\n", image("missing: CAP_SYS_ADMIN"))),
            (without("-net_admin", "bpftables uninstall-hooks"), 1, format!("bpftables: {}\n", lacks("cannot remove rules", "missing: CAP_NET_ADMIN"))),
            ("unshare --user --map-root-user bpftables uninstall-hooks".to_owned(), 1, format!("bpftables: {}\n", lacks("cannot remove rules", user))),
            (
                "unshare --user --map-root-user --net iptables -A INPUT -j DROP".to_owned(),
                1,
                format!("iptables: {}.\n", lacks("cannot change rules", user)),
            ),
            ("unshare --user --map-root-user iptables -A INPUT -j DROP".to_owned(), 3, format!("{initialize}{}\n", image(user))),
            ("unshare --user iptables -S".to_owned(), 3, denied.clone()),
            // A run directory that is not there, and one that is full.
            (
                "XTABLES_LOCKFILE=/proc/none/lock iptables -A INPUT -j DROP".to_owned(),
                4,
                "Fatal: can't open lock file /proc/none/lock: No such file or directory\n".to_owned(),
            ),
            (
                "unshare --mount bash -c 'mount -t tmpfs -o nr_inodes=1 none /mnt; XTABLES_LOCKFILE=/mnt/lock iptables -A INPUT -j DROP'".to_owned(),
                4,
                "Fatal: can't open lock file /mnt/lock: No space left on device\n".to_owned(),
            ),
            (
                "unshare --mount bash -c 'mount -t tmpfs -o ro none /mnt; XTABLES_LOCKFILE=/mnt/lock iptables -A INPUT -j DROP'".to_owned(),
                4,
                "Fatal: can't open lock file /mnt/lock: Read-only file system\n".to_owned(),
            ),
        ];
        for (script, code, text) in cases {
            assert_eq!(names.script(&script), (code, text), "{script}");
        }
        // It looks as far as it may.
        let (code, text) = names.script(&without("-net_admin", "bpftables status"));
        let nft = "\nneighbour    netfilter: cannot list the tables of nf_tables: permission denied (missing: CAP_NET_ADMIN)\n";
        assert!(code == 0 && text.contains("table        filter: 1 ") && text.ends_with(nft), "{text}");
        // Nothing is where the BPF file system should be: in a machine of its own, as far as the mounts go.
        let no_sys = |command: &str| {
            names.script(&format!(
                "unshare --pid --fork --mount-proc --mount bash -c 'mount -t tmpfs -o ro none /sys; {command}'"
            ))
        };
        let (code, text) = no_sys("iptables -A INPUT -j DROP");
        assert!(
            code == 3
                && text.starts_with(initialize)
                && text.contains("are attached to lo, but their state is not under"),
            "{text}"
        );
        assert_eq!(names.script("iptables -S").1, before, "the ruleset is as it was");
        assert!(!arrives(9) && arrives(10));

        // Where nothing is loaded, the first rule says what is missing.
        names.script("bpftables uninstall-hooks");
        let (code, text) = no_sys("iptables -A INPUT -j DROP");
        assert!(
            code == 1 && text.starts_with("iptables: no BPF file system at /sys/fs/bpf, and mounting one failed: "),
            "{code} {text}"
        );
        let read_only = "unshare --pid --fork --mount-proc --mount bash -c 'mount -t bpf -o ro none /sys/fs/bpf; iptables -A INPUT -j DROP'";
        let (code, text) = names.script(read_only);
        assert!(
            code == 1 && text.contains("cannot make /sys/fs/bpf/bpftables: Read-only file system"),
            "{code} {text}"
        );
        // A kernel without what the programs need.
        let no_types = "unshare --mount bash -c 'mount -t tmpfs none /sys/kernel/btf; iptables -A INPUT -j DROP'";
        let (code, text) = names.script(no_types);
        assert!(
            code == 1
                && text.starts_with(
                    "iptables: this kernel is too old: reading the kernel's types from /sys/kernel/btf/vmlinux failed"
                )
                && text.ends_with("expected Linux 6.6 or later with BTF (CONFIG_DEBUG_INFO_BTF).\n"),
            "{code} {text}"
        );
        assert_eq!(names.script("iptables -S").1, "-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n");
        assert!(arrives(9));
    });
}

#[test]
fn a_ruleset_that_was_corrupted_in_the_kernel_is_refused_and_goes_on_to_filter() {
    in_namespace(|| {
        let names = Names::new();
        names.script("iptables -A INPUT -p udp --dport 9 -j DROP");
        let status = Engine::open().unwrap().status(Family::V4).unwrap().unwrap();
        let images = PathBuf::from(&status.location).join("maps/bt_images");
        let images: Map<u32, u32> = Map::new(bpf::open_pinned(&images).unwrap()).unwrap();
        let map = bpf::map_by_id(images.get(&status.slot).unwrap().unwrap()).unwrap();
        let bytes = bpf::map_info(map.as_fd()).unwrap().max_entries as usize * 64;
        let image = Mapping::new(map.as_fd(), bytes, true).unwrap();
        let blob = image.load_u32(offset_of!(Header, blob_line)) as usize * 64;
        image.or_u32(blob + 20, 0x4141_4141);
        let cannot = "the ruleset kept in the kernel cannot be read: expected checksum ";
        for command in
            ["iptables -S", "iptables -A INPUT -j ACCEPT", "iptables -F", "iptables-save", "bpftables status"]
        {
            let (code, text) = names.script(command);
            assert!(code != 0 && text.contains(cannot) && text.contains("uninstall-hooks"), "{command}: {code} {text}");
        }
        assert!(!arrives(9) && arrives(10), "the programs run the rules as before");
        // And back.
        assert_eq!(names.script("bpftables uninstall-hooks && iptables -A INPUT -p udp --dport 10 -j DROP").0, 0);
        assert!(arrives(9) && !arrives(10));
    });
}

#[test]
fn a_state_of_which_parts_are_gone_is_repaired_or_the_way_on_is_named() {
    in_namespace(|| {
        let names = Names::new();
        let make = "iptables -A INPUT -p udp --dport 9 -j DROP";
        names.script(make);
        let (_, rules) = names.script("iptables -S");
        let state = names.script("bpftables status | sed -n 's/^state *//p'").1.trim().to_owned();
        assert!(state.starts_with("/sys/fs/bpf/bpftables/"), "{state}");
        // An empty directory is as none.
        let script =
            format!("bpftables uninstall-hooks && mkdir {state} && iptables -S && {make} && iptables -S INPUT");
        let policies = "-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n";
        let rule = "-A INPUT -p udp -m udp --dport 9 -j DROP\n";
        assert_eq!(names.script(&script), (0, format!("removed\n{policies}-P INPUT ACCEPT\n{rule}")));
        assert!(!arrives(9));
        let cannot = |what: &str| {
            format!(
                "the state of this network namespace in {state} is not whole: {what} is not there (run `bpftables uninstall-hooks` to begin anew)"
            )
        };
        let initialize = "iptables v1.8.11 (bpf): can't initialize iptables table `filter': ";
        for (gone, reads) in
            [("version", false), ("maps", false), ("maps/bt_images", false), ("progs", true), ("links", true)]
        {
            names.script(&format!("rm -rf {state}/{gone}"));
            let what = if gone == "maps" { "maps/bt_control" } else { gone };
            if reads {
                let text = format!("iptables: {}.\n", cannot(what));
                assert_eq!(names.script(make), (1, text), "{gone}");
                // Who still has rules can save them.
                assert_eq!(names.script("iptables -S"), (0, rules.clone()), "{gone}");
            } else {
                for command in [make, "iptables -S"] {
                    assert_eq!(names.script(command), (3, format!("{initialize}{}\n", cannot(what))), "{gone}");
                }
                assert_eq!(names.script("bpftables status"), (1, format!("bpftables: {}\n", cannot(what))));
            }
            assert_eq!(names.script(&format!("bpftables uninstall-hooks && {make}")), (0, "removed\n".to_owned()));
            assert!(!arrives(9));
        }
    });
}

#[test]
fn an_agent_that_can_do_nothing_says_why_and_leaves_the_rules_alone() {
    in_namespace(|| {
        let names = Names::new();
        assert_eq!(names.script("iptables -A INPUT -p udp --dport 9 -j DROP"), (0, String::new()));
        let (_, before) = names.script("iptables -S");
        let without = |capability: &str| {
            format!("setpriv --bounding-set=-{capability} --inh-caps=-{capability} bpftablesd --this-namespace")
        };
        let missing = |capability: &str| {
            format!(
                "bpftablesd: {capability} is missing (expected root with CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN)\n"
            )
        };
        let root = "Permission denied (you must be root)\n";
        let mount = "unshare --pid --fork --mount-proc --mount bash -c 'mount -t";
        let cases = [
            (format!("{NOBODY} bpftablesd --this-namespace"), format!("bpftablesd: {root}")),
            (format!("{NOBODY} bpftables status"), format!("bpftables: {root}")),
            (format!("{NOBODY} bpftables conntrack flush"), format!("bpftables: {root}")),
            (format!("{NOBODY} bpftables uninstall-hooks"), format!("bpftables: {root}")),
            (without("net_admin"), missing("CAP_NET_ADMIN")),
            (without("sys_admin"), missing("CAP_SYS_ADMIN")),
            (
                format!("{mount} tmpfs -o ro none /sys; bpftablesd --this-namespace'"),
                "bpftablesd: no BPF file system at /sys/fs/bpf, and mounting one failed: No such file or directory (os error 2) \
                 (expected CONFIG_BPF_SYSCALL and a mounted /sys)\n"
                    .to_owned(),
            ),
            (
                format!("{mount} bpf -o ro none /sys/fs/bpf; bpftablesd --this-namespace'"),
                "bpftablesd: cannot make /sys/fs/bpf/bpftables: Read-only file system (os error 30)\n".to_owned(),
            ),
            (
                "bpftablesd --this-namespace --log-to /proc/none/log".to_owned(),
                "bpftablesd: cannot write to /proc/none/log: No such file or directory (os error 2)\n".to_owned(),
            ),
            (
                format!("{mount} tmpfs -o nr_inodes=1 none /mnt; bpftablesd --this-namespace --nflog-to /mnt/packets'"),
                "bpftablesd: cannot write to /mnt/packets: No space left on device (os error 28)\n".to_owned(),
            ),
        ];
        for (script, text) in cases {
            assert_eq!(names.script(&format!("timeout 20 {script}")), (1, text), "{script}");
        }
        assert_eq!(names.script("iptables -S").1, before, "the ruleset is as it was");
        assert!(!arrives(9) && arrives(10));
    });
}
