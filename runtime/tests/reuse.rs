//! Slots whose images are written again where they stand: no packet and no reader ever meets a half of one.

mod common;

use bpftables_ruleset::matches::{Match, Udp};
use bpftables_ruleset::{
    AddrMatch, Chain, ChainName, Counters, Family, IpMatch, PortRange, Rule, Ruleset, Slot, TableKind, Target,
};
use bpftables_runtime::Engine;
use common::in_namespace;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long the flood and the readers go on, longer where a busy machine has not committed often enough by then.
const TIME: Duration = Duration::from_secs(4);
const COMMITS: u64 = 30;
const AT_MOST: Duration = Duration::from_secs(90);
const OPEN: u16 = 5000;
const CLOSED: u16 = 5001;
/// Packets under way at most, fewer than the receiver has room for.
const WINDOW: u64 = 64;

fn udp(dport: u16, target: Target) -> Rule {
    let ip = IpMatch { proto: Some((17, false)), ..IpMatch::default() };
    let ports = Udp { dport: PortRange { lo: dport, hi: dport }, ..Udp::default() };
    Rule::new(ip, vec![Match::Udp(ports)], target)
}

fn from(addr: u32, target: Target) -> Rule {
    let src = AddrMatch { addr: Ipv4Addr::from(addr).into(), mask: Ipv4Addr::BROADCAST.into(), invert: false };
    Rule::new(IpMatch { src: Some(src), ..IpMatch::default() }, vec![], target)
}

/// Rulesets with the same verdicts and little else in common: in one the lines hold rules where another has tables.
fn ruleset(which: usize) -> Ruleset {
    let mut ruleset = Ruleset::new(Family::V4);
    let table = ruleset.table_mut(TableKind::Filter);
    let filler = |count: u32| (0..count).map(|n| from(0xac10_0000 + n * 3, Target::Drop));
    let (open, closed) = (udp(OPEN, Target::Accept), udp(CLOSED, Target::Drop));
    match which {
        0 => table.builtin[0].rules = vec![open, closed],
        1 => table.builtin[0].rules = filler(700).chain([closed, open]).collect(),
        _ => {
            let mut inner = Chain::new(ChainName::from("INNER"), None);
            inner.rules = filler(90).chain([udp(CLOSED, Target::Drop), udp(OPEN, Target::Return)]).collect();
            let jump = Rule::new(IpMatch::default(), vec![], Target::Jump(inner.name.clone()));
            table.builtin[0].rules = vec![jump];
            table.user.insert(inner.name.clone(), inner);
            ruleset.table_mut(TableKind::Mangle).builtin[1].rules = filler(20).collect();
        }
    }
    ruleset
}

/// Whether they are the same but for slots.
fn same(read: &Ruleset, wanted: &Ruleset) -> bool {
    let mut read = read.clone();
    for chain in read.tables.iter_mut().flat_map(|table| &mut table.builtin) {
        (chain.slot, chain.offset) = (Slot::UNASSIGNED, Counters::default());
    }
    read == *wanted
}

/// Commits by turns; how many, and how many of them needed a new map.
fn commit_by_turns(engine: &mut Engine) -> (u64, u64) {
    let (begin, mut commits, mut made) = (Instant::now(), 0, 0);
    while begin.elapsed() < TIME || commits < COMMITS && begin.elapsed() < AT_MOST {
        let committed = engine.commit(&mut ruleset(commits as usize % 3)).unwrap();
        commits += 1;
        made += u64::from(committed.new_map);
    }
    (commits, made)
}

#[test]
fn a_flood_meets_no_wrong_verdict_while_slots_are_written_again() {
    in_namespace(|| {
        let mut engine = Engine::open().unwrap();
        engine.commit(&mut ruleset(0)).unwrap();
        let bind = |port| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            socket
        };
        let (open, closed) = (bind(OPEN), bind(CLOSED));
        let (stop, sent, received, wrong) =
            (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        let ended = |socket: &UdpSocket, count: &AtomicU64| {
            let mut buf = [0; 16];
            loop {
                match socket.recv(&mut buf) {
                    Ok(_) => count.fetch_add(1, Ordering::SeqCst),
                    Err(_) if stop.load(Ordering::SeqCst) => return,
                    Err(_) => 0,
                };
            }
        };
        let (commits, made) = std::thread::scope(|scope| {
            scope.spawn(|| ended(&open, &received));
            scope.spawn(|| ended(&closed, &wrong));
            scope.spawn(|| {
                let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                while !stop.load(Ordering::SeqCst) {
                    let waiting = Instant::now();
                    while sent.load(Ordering::SeqCst) - received.load(Ordering::SeqCst) >= WINDOW {
                        // Something was dropped that both rulesets let pass: the end will tell.
                        if waiting.elapsed() > Duration::from_secs(2) {
                            return;
                        }
                        std::thread::yield_now();
                    }
                    socket.send_to(b"passes", (Ipv4Addr::LOCALHOST, OPEN)).unwrap();
                    sent.fetch_add(1, Ordering::SeqCst);
                    // What is dropped on the way out of lo is no error to the sender.
                    let _ = socket.send_to(b"does not", (Ipv4Addr::LOCALHOST, CLOSED));
                }
            });
            let done = commit_by_turns(&mut engine);
            stop.store(true, Ordering::SeqCst);
            done
        });
        let (sent, received, wrong) = (sent.into_inner(), received.into_inner(), wrong.into_inner());
        eprintln!(
            "{commits} commits, {made} with a new map; {sent} datagrams sent, {received} received, {wrong} wrong"
        );
        assert_eq!((wrong, received), (0, sent));
        assert!(sent > 1000 && commits >= COMMITS, "too little load: {sent} datagrams, {commits} commits");
        // The first ones need maps of their size.
        assert!(made < commits / 2, "{made} of {commits} commits made a map: slots were not written again");
    });
}

#[test]
fn readers_without_a_lock_see_whole_rulesets_while_slots_are_written_again() {
    in_namespace(|| {
        let mut engine = Engine::open().unwrap();
        engine.commit(&mut ruleset(2)).unwrap();
        let stop = AtomicBool::new(false);
        let wanted = [0, 1, 2].map(ruleset);
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        let mut seen = [0_u64; 3];
                        let mut last = 0;
                        while !stop.load(Ordering::SeqCst) {
                            let snapshot = Engine::open().unwrap().read(Family::V4).unwrap();
                            let which = wanted.iter().position(|wanted| same(&snapshot.ruleset, wanted));
                            let which = which.expect("one of the rulesets, whole");
                            // Generation 1 is ruleset 2, and so on by turns.
                            assert_eq!(which as u32, (snapshot.generation + 1) % 3, "the ruleset of its generation");
                            assert!(snapshot.generation >= last, "never back in time");
                            last = snapshot.generation;
                            seen[which] += 1;
                        }
                        seen
                    })
                })
                .collect();
            let (commits, _) = commit_by_turns(&mut engine);
            stop.store(true, Ordering::SeqCst);
            for reader in readers {
                let seen = reader.join().unwrap();
                eprintln!("{commits} commits, reads of each ruleset: {seen:?}");
                assert!(seen.iter().all(|reads| *reads > 10), "too few reads: {seen:?}");
            }
        });
    });
}

#[test]
fn what_grows_gets_a_larger_map_and_what_shrinks_gives_it_back() {
    in_namespace(|| {
        let mut engine = Engine::open().unwrap();
        let chain = |count: u32| {
            let mut ruleset = Ruleset::new(Family::V4);
            ruleset.table_mut(TableKind::Filter).builtin[0].rules =
                (0..count).map(|n| from(0x0a00_0000 + n, Target::Accept)).collect();
            ruleset
        };
        let mut commit = |count| {
            let new_map = engine.commit(&mut chain(count)).unwrap().new_map;
            let read = Engine::open().unwrap().read(Family::V4).unwrap().ruleset;
            assert!(same(&read, &chain(count)), "{count} rules");
            new_map
        };
        // Each of the three slots gets a map of its own, then they go round.
        let first: Vec<bool> = (0..9).map(|_| commit(1000)).collect();
        assert!(first[..3].contains(&true) && first[3..] == [false; 6], "{first:?}");
        let grown: Vec<bool> = (0..9).map(|_| commit(5000)).collect();
        assert_eq!(grown, [true, true, true, false, false, false, false, false, false]);
        let shrunk: Vec<bool> = (0..9).map(|_| commit(10)).collect();
        assert_eq!(shrunk, [true, true, true, false, false, false, false, false, false]);
    });
}

#[test]
fn addresses_of_the_filler_are_no_addresses_of_the_flood() {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let fillers = ruleset(1).tables[0].builtin[0].rules.clone();
    assert!(fillers.iter().filter_map(|rule| rule.ip.src).all(|src| src.addr != loopback));
}
