//! The programs in the kernel against the linear evaluator: generated rulesets are committed, generated packets are run by
//! BPF_PROG_TEST_RUN, and verdict, mark and every counter must be equal.
//!
//! `BPFTABLES_KERNEL_CASES` sets the number of rulesets per hook.

mod common;

use bpftables_abi::maps::{PROGRAMS, PROGRAMS6};
use bpftables_compiler::testgen::{self, DEVICES, Profile};
use bpftables_ruleset::edit::{Edited, Source, merge, zero_rules};
use bpftables_ruleset::eval::{self, Packet, Simulated, Verdict};
use bpftables_ruleset::{
    Chain, ChainName, CounterView, Counters, EditError, Editor, Family, Hook, LineId, Rule, Ruleset, Slot, Table,
    TableKind, Target,
};
use bpftables_runtime::sys::bpf;
use bpftables_runtime::{Engine, EngineError};
use common::in_namespace;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, TestRunner};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::process::Command;

/// Packets for each ruleset.
const PACKETS: usize = 32;
/// TCX_NEXT and TCX_DROP.
const NEXT: i32 = -1;
const DROP: i32 = 2;

/// One way through the programs: the hooks that it passes in one table, and how to make a packet take it.
struct Way {
    family: Family,
    program: &'static str,
    profile: Profile,
    hooks: &'static [Hook],
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split_whitespace()).status().expect("ip of iproute2");
    assert!(status.success(), "ip {arguments}");
}

/// The devices and addresses that generated rules name.
fn world() -> BTreeMap<&'static str, u32> {
    for name in DEVICES.into_iter().filter(|name| *name != "lo") {
        ip(&format!("link add {name} address 02:00:00:00:00:01 type veth peer name {name}-peer"));
        // The peer stays down: without a carrier the stack sends nothing of its own (neighbour discovery, multicast groups).
        ip(&format!("link set {name} up"));
    }
    for (addr, (kind, device)) in testgen::addr_types() {
        match (kind, addr.is_loopback()) {
            (_, true) => {}
            (2, false) => ip(&format!("address add {addr}/32 dev {device}")),
            (3, false) => ip(&format!("route add table local broadcast {addr} dev {device}")),
            (other, false) => panic!("no way to make an address of type {other}"),
        }
    }
    for (addr, (_, device)) in testgen::ipv6::addr_types() {
        ip(&format!("address add {addr}/128 dev {device} nodad"));
    }
    DEVICES.into_iter().map(|name| (name, index_of(name).expect("a device just made"))).collect()
}

fn index_of(name: &str) -> Option<u32> {
    let output = Command::new("ip").args(["-o", "link", "show", "dev", name]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.split(':').next()?.trim().parse().ok()
}

/// `struct __sk_buff` with mark and devices.
fn context(mark: u32, ingress_ifindex: u32, ifindex: u32) -> [u8; 192] {
    let mut context = [0; 192];
    for (at, value) in [(8, mark), (36, ingress_ifindex), (40, ifindex)] {
        context[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }
    context
}

fn slots(ruleset: &Ruleset) -> BTreeSet<Slot> {
    let chains = ruleset.tables.iter().flat_map(|table| table.chains());
    chains.flat_map(|c| c.policy.map(|_| c.slot).into_iter().chain(c.rules.iter().map(|r| r.slot))).collect()
}

fn forget_slots(ruleset: &mut Ruleset) {
    for table in &mut ruleset.tables {
        for chain in table.builtin.iter_mut().chain(table.user.values_mut()) {
            chain.slot = Slot::UNASSIGNED;
            chain.rules.iter_mut().for_each(|rule| rule.slot = Slot::UNASSIGNED);
        }
    }
}

impl Way {
    /// The packet as this way can carry it.
    fn fit(&self, packet: &Packet) -> Packet {
        let mut packet = packet.clone();
        match self.hooks[0] {
            Hook::Forward => {
                packet.iif.get_or_insert_with(|| "eth0".into());
                packet.oif.get_or_insert_with(|| "eth1".into());
                packet.local = false;
            }
            Hook::Prerouting => {
                packet.iif.get_or_insert_with(|| "eth0".into());
                packet.oif = None;
                packet.local = false;
            }
            _ => {
                packet.iif = None;
                packet.oif.get_or_insert_with(|| "eth1".into());
                packet.local = true;
            }
        }
        packet
    }

    fn check(
        &self,
        ruleset: &Ruleset,
        packets: &[Packet],
        devices: &BTreeMap<&'static str, u32>,
    ) -> Result<(), TestCaseError> {
        let mut ruleset = ruleset.clone();
        forget_slots(&mut ruleset);
        let mut engine = Engine::open().unwrap();
        engine.commit(&mut ruleset).map_err(|e| TestCaseError::fail(e.to_string()))?;
        self.agree(&mut engine, &ruleset, packets, devices)
    }

    /// The programs do to packets what the evaluator does with the ruleset that is live.
    fn agree(
        &self,
        engine: &mut Engine,
        ruleset: &Ruleset,
        packets: &[Packet],
        devices: &BTreeMap<&'static str, u32>,
    ) -> Result<(), TestCaseError> {
        let counters = engine.counters(self.family).unwrap();
        let program = engine.program(self.program).unwrap();
        let since_1970 = std::time::UNIX_EPOCH.elapsed().unwrap();
        let mut env = Simulated::default();
        env.seconds = since_1970.as_secs().try_into().unwrap();
        env.addrs = match self.family {
            Family::V4 => testgen::addr_types(),
            Family::V6 => testgen::ipv6::addr_types(),
        };

        let slots = slots(ruleset);
        // What this host sends reaches netfilter before it is cut into fragments: a later one without its first is none of those.
        let sent = self.hooks[0] == Hook::Output;
        for packet in packets.iter().filter(|packet| !sent || packet.fragment_offset() == 0) {
            let packet = self.fit(packet);
            let before: BTreeMap<Slot, Counters> = slots.iter().map(|slot| (*slot, counters.get(*slot))).collect();
            let (mut seen, mut verdict, mut counted) = (packet.clone(), Verdict::Accept, Vec::new());
            for hook in self.hooks {
                let outcome = eval::traverse(ruleset, self.profile.table, *hook, &mut seen, &mut env);
                counted.extend(outcome.counted);
                verdict = outcome.verdict;
                if verdict != Verdict::Accept {
                    break;
                }
            }

            let index = |name: &Option<Box<str>>| name.as_deref().map_or(0, |name| devices[name]);
            let (iif, oif) = (index(&packet.iif), index(&packet.oif));
            let (ingress, own) = if self.hooks[0] == Hook::Prerouting { (iif, iif) } else { (iif, oif) };
            // To this host: the address of every device but lo.
            let mac: [u8; 6] = if own == devices["lo"] { [0; 6] } else { [2, 0, 0, 0, 0, 1] };
            let ether_type: [u8; 2] = if self.family == Family::V4 { [8, 0] } else { [0x86, 0xdd] };
            let mut frame = [&mac[..], &[0; 6], &ether_type].concat();
            frame.extend(&packet.data);
            let mut context = context(packet.mark, ingress, own);
            let run = bpf::test_run(program.as_fd(), &frame, &mut context, 1).unwrap();

            let stats = engine.stats(self.family).unwrap().into_iter().filter(|stat| stat.count > 0);
            let stats: Vec<_> = stats.map(|stat| (stat.name, stat.count)).collect();
            let told = format!("{packet:?}\ncounted {counted:?}, verdict {verdict:?}, statistics {stats:?}");
            match verdict {
                Verdict::Accept => {
                    prop_assert_eq!(run.retval, NEXT, "{}", told);
                    let mark = u32::from_ne_bytes(context[8..12].try_into().unwrap());
                    prop_assert_eq!(mark, seen.mark, "mark: {}", told);
                    let after = run.data.get(14..14 + seen.data.len());
                    prop_assert_eq!(after, Some(&seen.data[..]), "bytes: {}", told);
                }
                // A reject is answered, or dropped where no answer is due.
                Verdict::Reject(_) => prop_assert!(run.retval != NEXT, "{}", told),
                Verdict::Unknown(name) => prop_assert!(false, "the evaluator does not know {}: {}", name, told),
                _ => prop_assert_eq!(run.retval, DROP, "{}", told),
            }
            let mut expected = before;
            for slot in counted {
                let counter = expected.get_mut(&slot).unwrap();
                *counter = counter.plus(Counters { packets: 1, bytes: packet.len() as u64 });
            }
            for (slot, expected) in expected {
                prop_assert_eq!(counters.get(slot), expected, "{:?}: {}", slot, told);
            }
        }
        Ok(())
    }

    fn run(&self) {
        let cases = std::env::var("BPFTABLES_KERNEL_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(90);
        let config = ProptestConfig {
            cases,
            failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/kernel.regressions"))),
            max_shrink_iters: 150,
            ..ProptestConfig::default()
        };
        in_namespace(|| {
            let devices = world();
            let input = (testgen::ruleset(self.profile), vec(testgen::packet(), PACKETS));
            let mut runner = TestRunner::new(config);
            let result = runner.run(&input, |(ruleset, packets)| match self.family {
                Family::V4 => self.check(&ruleset, &packets, &devices),
                Family::V6 => {
                    let packets: Vec<Packet> = packets.iter().map(testgen::ipv6::packet).collect();
                    self.check(&testgen::ipv6::ruleset(&ruleset), &packets, &devices)
                }
            });
            if let Err(error) = result {
                panic!("{}: {error}", self.program);
            }
        });
    }
}

/// Says by which lines rules were made, each by one of its own.
fn give_lines(ruleset: &mut Ruleset) {
    let chains = ruleset.tables.iter_mut().flat_map(|table| table.builtin.iter_mut().chain(table.user.values_mut()));
    for (number, rule) in (1_u64..).zip(chains.flat_map(|chain| &mut chain.rules)) {
        rule.line.0[..8].copy_from_slice(&number.to_ne_bytes());
    }
}

/// Flushes a chain and fills it again with its rules, without one of them, or with another one.
fn refill(editor: &mut Editor<'_>, chain: &Chain, place: u16, other: Option<Rule>) -> Result<(), EditError> {
    let name = &*chain.name.0;
    editor.refill(name)?;
    let at = usize::from(place) % (chain.rules.len() * 2 + 1);
    for (index, rule) in chain.rules.iter().enumerate() {
        if index == at && other.is_none() {
            continue;
        }
        if index == at
            && let Some(other) = &other
        {
            editor.append(name, other.clone())?;
        }
        if !editor.again(name, rule.line) {
            let rule = Rule { slot: Slot::UNASSIGNED, offset: Counters::default(), ..rule.clone() };
            editor.append(name, rule)?;
        }
    }
    Ok(())
}

/// An edit, to be fitted to the chains that there are: what, which chain, where, which rule.
type Draft = (u8, u16, u16, u16);

/// Does an edit; one that cannot be done is none.
fn edit(editor: &mut Editor<'_>, table: &Table, (what, chain, place, rule): Draft, pool: &[Rule]) {
    let names: Vec<&ChainName> = table.chains().map(|chain| &chain.name).collect();
    let name = &*names[usize::from(chain) % names.len()].0;
    let mut rule = pool[usize::from(rule) % pool.len()].clone();
    if let Target::Jump(to) | Target::Goto(to) = &mut rule.target {
        *to = names[usize::from(place) % names.len()].clone();
    }
    (rule.slot, rule.line) = (Slot::UNASSIGNED, LineId::NONE);
    let at = u32::from(place) % 6 + 1;
    let _ = match what % 12 {
        0 | 1 => editor.append(name, rule),
        2 => editor.insert(name, at, rule),
        3 => editor.delete_number(name, at),
        4 => editor.replace(name, at, rule),
        5 => editor.flush(name).and_then(|()| editor.append(name, rule)),
        6 => editor.new_chain("NEW").and_then(|()| editor.append("NEW", rule)),
        7 => editor.flush(name).and_then(|()| editor.delete_chain(name)),
        8 => refill(editor, table.chain(name).unwrap(), place, Some(rule)),
        _ => refill(editor, table.chain(name).unwrap(), place, None),
    };
}

impl Way {
    /// Edits that are committed chain by chain; how many were.
    fn edited(
        &self,
        ruleset: &Ruleset,
        pool: &[Rule],
        drafts: &[Draft],
        packets: &[Packet],
        devices: &BTreeMap<&'static str, u32>,
    ) -> Result<[usize; 2], TestCaseError> {
        let fail = |error: EngineError| TestCaseError::fail(error.to_string());
        let (mut ruleset, kind) = (ruleset.clone(), self.profile.table);
        forget_slots(&mut ruleset);
        give_lines(&mut ruleset);
        let mut engine = Engine::open().unwrap();
        engine.commit(&mut ruleset).map_err(fail)?;
        let (mut steps, mut unread) = (0, 0);
        for draft in drafts {
            let part = engine.part(self.family, kind).unwrap().unwrap();
            let mut table = Table::new(self.family, kind);
            let mut editor = Editor::of_parts(&mut table, &part);
            editor.expect_lines([]);
            edit(&mut editor, ruleset.table(kind).unwrap(), *draft, pool);
            let Edited { taken, refilled } = editor.finish();
            prop_assert!(part.is_sound());
            let step = engine.commit_part(&part, &mut table, &refilled).map_err(fail)?.is_some();
            let mut edited = ruleset.clone();
            merge(edited.table_mut(kind), table, &taken);
            let counted = engine.counters(self.family).map_err(fail)?;
            zero_rules(edited.table_mut(kind), &refilled, &counted);
            // Generated rules may stand where the kernel would not have them; loops are the compiler's to find.
            if !step && engine.commit_table(&mut edited, kind).is_err() {
                continue;
            }
            steps += usize::from(step);
            unread += if step { refilled.len() } else { 0 };
            ruleset = edited;
            let read = Engine::open().unwrap().read(self.family).unwrap().ruleset;
            prop_assert_eq!(format!("{:?}", read), format!("{:?}", ruleset));
            self.agree(&mut engine, &ruleset, packets, devices)?;
        }
        Ok([steps, unread])
    }

    fn run_edited(&self) {
        let config =
            ProptestConfig { cases: 30, max_shrink_iters: 100, failure_persistence: None, ..ProptestConfig::default() };
        in_namespace(|| {
            let devices = world();
            let rulesets = (testgen::ruleset(self.profile), testgen::ruleset(self.profile));
            let input = (rulesets, vec(any::<Draft>(), 6), vec(testgen::packet(), 8));
            let steps = Cell::new([0; 2]);
            let result = TestRunner::new(config).run(&input, |((mut ruleset, mut other), drafts, mut packets)| {
                if self.family == Family::V6 {
                    (ruleset, other) = (testgen::ipv6::ruleset(&ruleset), testgen::ipv6::ruleset(&other));
                    packets = packets.iter().map(testgen::ipv6::packet).collect();
                }
                let pool: Vec<Rule> =
                    other.tables.iter().flat_map(Table::chains).flat_map(|chain| chain.rules.clone()).collect();
                if !pool.is_empty() {
                    let [some, unread] = self.edited(&ruleset, &pool, &drafts, &packets, &devices)?;
                    steps.set([steps.get()[0] + some, steps.get()[1] + unread]);
                }
                Ok(())
            });
            if let Err(error) = result {
                panic!("{}: {error}", self.program);
            }
            let [steps, unread] = steps.get();
            assert!(steps > 50, "{steps} edits were committed chain by chain");
            assert!(unread > 10, "{unread} chains were filled again");
        });
    }
}

#[test]
fn packets_meet_rules_edited_chain_by_chain_as_the_evaluator_says() {
    let (family, hooks) = (Family::V4, &[Hook::Forward][..]);
    Way { family, program: PROGRAMS[1], profile: profile(TableKind::Filter), hooks }.run_edited();
}

#[test]
fn ipv6_packets_meet_rules_edited_chain_by_chain_as_the_evaluator_says() {
    let (family, hooks) = (Family::V6, &[Hook::Forward, Hook::Postrouting][..]);
    Way { family, program: PROGRAMS6[1], profile: profile(TableKind::Mangle), hooks }.run_edited();
}

const fn profile(table: TableKind) -> Profile {
    Profile { table, chance: false, memory: false, conntrack: false }
}

#[test]
fn forwarded_packets_meet_filter_rules_as_the_evaluator_says() {
    Way { family: Family::V4, program: PROGRAMS[1], profile: profile(TableKind::Filter), hooks: &[Hook::Forward] }
        .run();
}

#[test]
fn forwarded_packets_meet_mangle_rules_as_the_evaluator_says() {
    Way {
        family: Family::V4,
        program: PROGRAMS[1],
        profile: profile(TableKind::Mangle),
        hooks: &[Hook::Forward, Hook::Postrouting],
    }
    .run();
}

#[test]
fn received_packets_meet_raw_rules_as_the_evaluator_says() {
    Way { family: Family::V4, program: PROGRAMS[0], profile: profile(TableKind::Raw), hooks: &[Hook::Prerouting] }
        .run();
}

#[test]
fn sent_packets_meet_filter_rules_as_the_evaluator_says() {
    Way { family: Family::V4, program: PROGRAMS[1], profile: profile(TableKind::Filter), hooks: &[Hook::Output] }.run();
}

#[test]
fn forwarded_ipv6_packets_meet_filter_rules_as_the_evaluator_says() {
    let family = Family::V6;
    Way { family, program: PROGRAMS6[1], profile: profile(TableKind::Filter), hooks: &[Hook::Forward] }.run();
}

#[test]
fn received_ipv6_packets_meet_raw_rules_as_the_evaluator_says() {
    let family = Family::V6;
    Way { family, program: PROGRAMS6[0], profile: profile(TableKind::Raw), hooks: &[Hook::Prerouting] }.run();
}

#[test]
fn sent_ipv6_packets_meet_filter_rules_as_the_evaluator_says() {
    let family = Family::V6;
    Way { family, program: PROGRAMS6[1], profile: profile(TableKind::Filter), hooks: &[Hook::Output] }.run();
}
