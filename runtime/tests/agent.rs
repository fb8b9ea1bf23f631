//! A namespace that the agent serves goes when everybody else has left it.

mod common;

use bpftables_ruleset::{Family, Policy, Ruleset, TableKind};
use bpftables_runtime::sys::ns;
use bpftables_runtime::{Agent, Engine, Hooked, Sink};
use common::{Other, in_namespace, ip};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

fn commit() {
    let mut ruleset = Ruleset::new(Family::V4);
    ruleset.table_mut(TableKind::Filter).builtin[0].policy = Some(Policy::Drop);
    Engine::open().unwrap().commit(&mut ruleset).unwrap();
}

/// Lets the agent look until `done`, some seconds at most.
fn until(agent: &mut Agent, done: impl Fn() -> bool) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(20) {
        agent.look().unwrap();
        if done() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

fn covered(device: &str) -> bool {
    let status = Engine::open().unwrap().status(Family::V4).unwrap().unwrap();
    status.devices.iter().any(|d| d.name == device && d.ingress == Hooked::First && d.egress == Hooked::First)
}

fn exists(device: &str) -> bool {
    let out = std::process::Command::new("ip").args(["link", "show", device]).output();
    out.expect("ip of iproute2").status.success()
}

#[test]
fn a_namespace_that_only_the_agent_and_guards_hold_goes() {
    in_namespace(|| {
        let there = Other::new();
        let cookies = [ns::netns_cookie().unwrap(), there.run(|| ns::netns_cookie().unwrap())];
        commit();
        there.run(commit);
        let mut agent =
            Agent::open(Some(BTreeSet::from(cookies)), Sink::Stderr).unwrap().expect("no other agent for these");
        assert!(until(&mut agent, || agent_serves(&cookies)), "both are served");
        ip(&format!("link add a1 type veth peer name b1 netns {}", there.path()));
        assert!(until(&mut agent, || covered("a1")), "the agent attaches here");
        let begin = Instant::now();
        while !there.run(|| covered("b1")) {
            assert!(begin.elapsed() < Duration::from_secs(10), "and there");
        }
        // As long as a process is there, it stays.
        let begin = Instant::now();
        assert!(until(&mut agent, || begin.elapsed() > Duration::from_secs(3)));
        assert!(exists("a1"));
        drop(there);
        assert!(until(&mut agent, || !exists("a1")), "its end of the pair goes with it");
        // This one is still served.
        ip("link add c1 type veth peer name c2");
        assert!(until(&mut agent, || covered("c1") && covered("c2")));
        drop(agent);
        assert!(covered("c1"), "what is attached stays");
    });
}

#[test]
fn programs_of_another_build_are_left_to_the_next_commit_and_not_tried_again_and_again() {
    in_namespace(|| {
        let cookie = ns::netns_cookie().unwrap();
        commit();
        let version = std::path::PathBuf::from(Engine::open().unwrap().status(Family::V4).unwrap().unwrap().location)
            .join("version");
        let own = std::fs::read_link(&version).unwrap();
        let build = |target: &std::path::Path| {
            std::fs::remove_file(&version).unwrap();
            std::os::unix::fs::symlink(target, &version).unwrap();
        };
        build(std::path::Path::new(&format!("{}_another", bpftables_abi::ABI_VERSION)));
        let mut agent = Agent::open(Some(BTreeSet::from([cookie])), Sink::Stderr).unwrap().expect("no other agent");
        let begin = Instant::now();
        let mut taken = 0;
        while begin.elapsed() < Duration::from_secs(3) {
            taken += agent.look().unwrap().taken_up.len();
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(taken, 0, "there is nothing for it to serve");
        build(&own);
        assert!(until(&mut agent, || agent_serves(&[cookie])), "now there is");
    });
}

#[test]
fn a_namespace_is_served_by_the_agent_that_was_there_first() {
    in_namespace(|| {
        let there = Other::new();
        let [here, other] = [ns::netns_cookie().unwrap(), there.run(|| ns::netns_cookie().unwrap())];
        commit();
        there.run(commit);
        let open =
            |cookies: &[u64]| Agent::open(Some(BTreeSet::from_iter(cookies.iter().copied())), Sink::Stderr).unwrap();
        let mut first = open(&[here]).expect("no other agent");
        assert_eq!(first.look().unwrap().taken_up, [here]);
        let mut several = open(&[here, other]).expect("an agent for what is left");
        for taken_up in [vec![other], Vec::new(), Vec::new()] {
            let found = several.look().unwrap();
            assert_eq!((found.namespaces, found.taken_up), (1, taken_up), "the other one is left to the first agent");
        }
        assert!(open(&[other]).is_none(), "what it serves is nobody else's");
        drop(first);
        assert!(until(&mut several, || agent_serves(&[here, other])));
        assert!(open(&[here]).is_none(), "it has taken over");
        drop(several);
        assert!(open(&[here]).is_some() && open(&[other]).is_some(), "now there is nobody");
        assert!(there.run(|| Engine::open().unwrap().uninstall().unwrap()));
    });
}

#[test]
fn agents_of_single_namespaces_leave_no_directories() {
    in_namespace(|| {
        commit();
        let all = std::path::PathBuf::from(Engine::open().unwrap().status(Family::V4).unwrap().unwrap().location);
        let all = all.parent().unwrap().to_owned();
        let cookie = ns::netns_cookie().unwrap();
        let mark = all.join(format!("agent_{cookie:x}"));
        let open = || Agent::open(Some(BTreeSet::from([cookie])), Sink::Stderr).unwrap();
        let agent = open().expect("no other agent");
        assert!(mark.exists() && open().is_none(), "one at a time");
        drop(agent);
        assert!(!mark.exists());
        // One that was killed left its own, which the next commit takes away if nobody has it, and no other.
        let agent = open().expect("no other agent");
        let left = all.join("agent_ffffffffffff");
        std::fs::create_dir(&left).unwrap();
        let begin = Instant::now();
        while left.exists() && begin.elapsed() < Duration::from_secs(20) {
            // Where another process holds a lock, a commit clears nothing up.
            commit();
        }
        assert!(!left.exists() && mark.exists());
        drop(agent);
    });
}

/// Whether threads of these namespaces run in this process.
fn agent_serves(cookies: &[u64]) -> bool {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let names: Vec<String> = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok()).collect();
    cookies.iter().all(|cookie| names.iter().any(|name| name.trim() == format!("netns-{cookie:x}")))
}
