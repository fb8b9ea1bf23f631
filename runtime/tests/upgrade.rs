//! Pins of other builds, directories of namespaces that are gone, and of those that are being made. "Another build" is made by changing the link that tells which
//! build the pins are of.

mod common;

use bpftables_abi::parts;
use bpftables_ruleset::matches::{Conntrack, CtStates, Match, Quota, Udp};
use bpftables_ruleset::{Family, IpMatch, Policy, PortRange, Rule, Ruleset, TableKind, Target};
use bpftables_runtime::{Engine, EngineError, sys::ns};
use common::in_namespace;
use std::fs;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

fn directory() -> PathBuf {
    PathBuf::from(format!("/sys/fs/bpf/bpftables/{:x}", ns::netns_cookie().unwrap()))
}

/// Which build the pins are of: layouts, object, and the programs' parts.
fn version() -> [String; 3] {
    let version = fs::read_link(directory().join("version")).unwrap();
    let words: Vec<String> = version.to_str().unwrap().split('_').map(str::to_owned).collect();
    words.try_into().unwrap()
}

fn parts_there() -> u32 {
    u32::from_str_radix(&version()[2], 16).unwrap()
}

fn pretend(abi: &str, object: &str) {
    let parts = &version()[2];
    fs::remove_file(directory().join("version")).unwrap();
    symlink(format!("{abi}_{object}_{parts}"), directory().join("version")).unwrap();
}

/// Only TCP that is tracked passes: a connection that is forgotten breaks.
fn tracked() -> Ruleset {
    let mut ruleset = Ruleset::new(Family::V4);
    let states = |bits| {
        let ct = Conntrack { state: Some((CtStates(bits), false)), ..Conntrack::default() };
        Rule::new(IpMatch::default(), vec![Match::Conntrack(Box::new(ct))], Target::Accept)
    };
    let chain = &mut ruleset.table_mut(TableKind::Filter).builtin[0];
    chain.rules = vec![states(CtStates::ESTABLISHED)];
    chain.policy = Some(Policy::Drop);
    ruleset
}

fn links() -> Vec<(PathBuf, Vec<u32>)> {
    use bpftables_runtime::sys::bpf::{TCX_EGRESS, TCX_INGRESS, query_tcx};
    let hooks = [TCX_INGRESS, TCX_EGRESS].map(|hook| query_tcx(1, hook).unwrap()).concat();
    fs::read_dir(directory().join("links")).unwrap().map(|entry| (entry.unwrap().path(), hooks.clone())).collect()
}

#[test]
fn programs_of_another_build_are_replaced_in_place_and_no_connection_breaks() {
    in_namespace(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut engine = Engine::open().unwrap();
        // The connection begins while everything passes, under a rule that tracks.
        let mut open = tracked();
        open.table_mut(TableKind::Filter).builtin[0].policy = Some(Policy::Accept);
        engine.commit(&mut open).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let mut say = |word: &[u8; 4]| {
            use std::io::{Read, Write};
            let mut heard = [0; 4];
            client.write_all(word).unwrap();
            server.read_exact(&mut heard).unwrap();
            server.write_all(word).unwrap();
            client.read_exact(&mut heard).unwrap();
            assert_eq!(&heard, word);
        };
        say(b"here");
        let mut shut = engine.read(Family::V4).unwrap().ruleset;
        shut.table_mut(TableKind::Filter).builtin[0].policy = Some(Policy::Drop);
        engine.commit(&mut shut).unwrap();
        say(b"more");

        let count = |engine: &mut Engine| {
            let snapshot = engine.read(Family::V4).unwrap();
            snapshot.ruleset.tables[0].builtin[0].rules[0].counters(&snapshot.counters).packets
        };
        let (before, connections) = (count(&mut engine), engine.conntrack_list().unwrap());
        assert!(before > 4 && connections.len() == 1, "{before} packets, {connections:?}");
        let [abi, object, _] = version();
        let old = links();
        pretend(&abi, "0123456789abcdef");
        // Reading changes nothing; the next commit upgrades.
        let mut other = Engine::open().unwrap();
        let status = other.status(Family::V4).unwrap().unwrap();
        assert_eq!(status.object, ("0123456789abcdef".to_owned(), false));
        assert_eq!(links(), old);
        let mut ruleset = other.read(Family::V4).unwrap().ruleset;
        ruleset.table_mut(TableKind::Raw);
        other.commit(&mut ruleset).unwrap();
        assert_eq!(version()[..2], [abi, object]);
        let new = links();
        assert_eq!(
            new.iter().map(|(path, _)| path).collect::<Vec<_>>(),
            old.iter().map(|(path, _)| path).collect::<Vec<_>>()
        );
        assert!(new[0].1.iter().all(|id| !old[0].1.contains(id)), "other programs run: {new:?}, {old:?}");
        assert_eq!(new[0].1.len(), old[0].1.len());

        say(b"goes");
        let after = count(&mut other);
        assert!(after > before, "counters go on: {before}, {after}");
        assert_eq!(other.conntrack_list().unwrap().len(), 1);
    });
}

/// A ruleset whose INPUT drops UDP to port 9, by rules that ask for no part.
fn closed_port() -> Ruleset {
    let mut ruleset = Ruleset::new(Family::V4);
    let udp = IpMatch { proto: Some((17, false)), ..IpMatch::default() };
    let port = Udp { dport: PortRange { lo: 9, hi: 9 }, ..Udp::default() };
    ruleset.table_mut(TableKind::Filter).builtin[0].rules = vec![Rule::new(udp, vec![Match::Udp(port)], Target::Drop)];
    ruleset
}

#[test]
fn programs_get_the_parts_that_rules_ask_for_under_traffic() {
    in_namespace(|| {
        let mut engine = Engine::open().unwrap();
        engine.commit(&mut closed_port()).unwrap();
        assert_eq!(parts_there(), 0, "nothing is asked for");
        let closed = UdpSocket::bind("127.0.0.1:9").unwrap();
        closed.set_nonblocking(true).unwrap();
        let done = AtomicBool::new(false);
        let namespace = fs::File::open("/proc/thread-self/ns/net").unwrap();
        std::thread::scope(|scope| {
            let flood = scope.spawn(|| {
                ns::enter_network_namespace(namespace.as_fd()).unwrap();
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                let mut sent = 0_u64;
                while !done.load(Ordering::Relaxed) {
                    let _ = socket.send_to(b"x", "127.0.0.1:9");
                    sent += 1;
                }
                sent
            });
            let mut commit = |matches: Vec<Match>| {
                let mut ruleset = engine.read(Family::V4).unwrap().ruleset;
                let chain = &mut ruleset.table_mut(TableKind::Filter).builtin[0];
                chain.rules.truncate(1);
                chain.rules.push(Rule::new(IpMatch::default(), matches, Target::Accept));
                engine.commit(&mut ruleset).unwrap();
                (parts_there(), links())
            };
            let ct = Conntrack { state: Some((CtStates(CtStates::NEW), false)), ..Conntrack::default() };
            let (common, first) = commit(vec![Match::Conntrack(Box::new(ct.clone()))]);
            assert_eq!(common, parts::COMMON, "what is common comes together");
            let quota = Match::Quota(Quota { bytes: 1 << 40, invert: false });
            let (all, second) = commit(vec![Match::Conntrack(Box::new(ct)), quota]);
            assert_eq!(all, parts::ALL, "and then everything");
            assert!(second[0].1.iter().all(|id| !first[0].1.contains(id)), "{first:?}, {second:?}");
            // No rule asks for a part now; programs stay as they are.
            let (still, third) = commit(Vec::new());
            assert_eq!((still, third), (parts::ALL, second));
            done.store(true, Ordering::Relaxed);
            let sent = flood.join().unwrap();
            let snapshot = engine.read(Family::V4).unwrap();
            let rule = &snapshot.ruleset.table(TableKind::Filter).unwrap().builtin[0].rules[0];
            assert_eq!(rule.counters(&snapshot.counters).packets, sent, "each was dropped and counted once");
        });
        assert!(closed.recv(&mut [0; 8]).is_err(), "none came through");
    });
}

#[test]
fn pins_of_other_layouts_are_refused_with_the_way_on_and_can_be_removed() {
    in_namespace(|| {
        let mut engine = Engine::open().unwrap();
        engine.commit(&mut tracked()).unwrap();
        let [abi, object, _] = version();
        let old = links();
        pretend("999", &object);
        let mut other = Engine::open().unwrap();
        let refused = [
            other.read(Family::V4).map(|_| ()).unwrap_err(),
            other.commit(&mut tracked()).map(|_| ()).unwrap_err(),
            other.status(Family::V4).map(|_| ()).unwrap_err(),
        ];
        for error in refused {
            assert!(matches!(error, EngineError::AbiMismatch { .. }), "{error:?}");
            let text = error.to_string();
            assert!(text.contains("999") && text.contains("uninstall-hooks"), "{text}");
        }
        // What runs, runs on.
        assert_eq!((&*version()[0], links()), ("999", old));
        assert_ne!(abi, "999");
        assert!(other.uninstall().unwrap());
        assert!(!directory().exists());
        other.commit(&mut tracked()).unwrap();
        assert_eq!(version()[..2], [abi, object]);
    });
}

#[test]
fn directories_of_namespaces_that_are_gone_are_removed_by_the_next_commit_elsewhere() {
    // Made on a thread that ends without removing anything: its namespace goes with it.
    let gone = std::thread::spawn(|| {
        ns::unshare_network().expect("a network namespace (needs root)");
        Engine::open().unwrap().commit(&mut tracked()).unwrap();
        directory()
    });
    let gone = gone.join().unwrap();
    in_namespace(|| {
        let stays = directory();
        let collected = |gone: &Path| {
            let mut engine = Engine::open().unwrap();
            let mut ruleset = engine.read(Family::V4).unwrap().ruleset;
            ruleset.table_mut(TableKind::Filter).builtin[0].rules.extend(tracked().tables[0].builtin[0].rules.clone());
            engine.commit(&mut ruleset).unwrap();
            assert!(stays.exists(), "the directory of a namespace that lives");
            !gone.exists()
        };
        // The kernel ends a namespace some time after its last thread, and a commit that finds others at work collects nothing.
        let done = (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(100));
            collected(&gone)
        });
        assert!(done, "{} is still there", gone.display());
    });
}

#[test]
fn a_first_commit_waits_for_one_of_its_own_namespace_and_for_no_others() {
    let (holding, held) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let slow = std::thread::spawn(move || {
        in_namespace(move || {
            // What a commit holds while the kernel verifies its programs.
            let building = directory().with_file_name(format!("{:x}_new", ns::netns_cookie().unwrap()));
            Engine::open().unwrap().commit(&mut tracked()).unwrap();
            Engine::open().unwrap().uninstall().unwrap();
            let all = fs::File::open(building.parent().unwrap()).unwrap();
            all.lock_shared().unwrap();
            fs::create_dir(&building).unwrap();
            let own = fs::File::open(&building).unwrap();
            own.lock().unwrap();
            let cookie = ns::netns_cookie().unwrap();
            let network = fs::File::open("/proc/thread-self/ns/net").unwrap();
            holding.send(()).unwrap();
            std::thread::scope(|scope| {
                let second = scope.spawn(|| {
                    ns::enter_network_namespace(network.as_fd()).unwrap();
                    assert_eq!(ns::netns_cookie().unwrap(), cookie);
                    Engine::open().unwrap().commit(&mut tracked()).unwrap();
                });
                released.recv().unwrap();
                assert!(!second.is_finished(), "two commits made one directory");
                drop(own);
                second.join().unwrap();
            });
            assert!(!building.exists() && directory().exists());
        });
    });
    held.recv().unwrap();
    let (done, finished) = mpsc::channel();
    std::thread::spawn(move || {
        in_namespace(|| {
            done.send(Engine::open().unwrap().commit(&mut tracked()).map(|_| directory().exists())).unwrap()
        });
    });
    let committed = finished.recv_timeout(Duration::from_secs(120)).expect("a commit waited for another namespace's");
    assert!(committed.unwrap());
    release.send(()).unwrap();
    slow.join().unwrap();
}
