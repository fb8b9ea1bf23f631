//! Commits and reads in namespaces of their own.

mod common;

use bpftables_ruleset::matches::{Limit, Match, Statistic, StatisticMode};
use bpftables_ruleset::{
    Chain, ChainName, CounterView, Counters, Family, IpMatch, Policy, Rule, Ruleset, Slot, TableKind, Target,
};
use bpftables_runtime::{Engine, EngineError};
use common::in_namespace;

fn rules(target: &Target, count: usize) -> Vec<Rule> {
    (0..count).map(|_| Rule::new(IpMatch::default(), vec![], target.clone())).collect()
}

#[test]
fn a_fresh_namespace_has_no_tables_and_reading_makes_nothing() {
    in_namespace(|| {
        let mut engine = Engine::open().unwrap();
        let snapshot = engine.read(Family::V4).unwrap();
        assert_eq!((snapshot.generation, snapshot.ruleset), (0, Ruleset::new(Family::V4)));
        assert!(!engine.record_initialised(Family::V4, TableKind::Filter).unwrap());
        assert_eq!(engine.read(Family::V4).unwrap().generation, 0);
        assert!(!engine.uninstall().unwrap());
    });
}

#[test]
fn what_is_committed_is_read_back_by_another_engine() {
    in_namespace(|| {
        let mut ruleset = Ruleset::new(Family::V4);
        let table = ruleset.table_mut(TableKind::Filter);
        table.builtin[0].rules = rules(&Target::Accept, 3);
        table.builtin[0].rules[1].offset = Counters { packets: 7, bytes: 700 };
        let mut chain = Chain::new(ChainName::from("user"), None);
        chain.rules = rules(&Target::Return, 2);
        table.user.insert(chain.name.clone(), chain);
        table.builtin[1].policy = Some(Policy::Drop);

        let committed = Engine::open().unwrap().commit(&mut ruleset).unwrap();
        assert_eq!((committed.generation, committed.attached.as_slice()), (1, ["lo".to_owned()].as_slice()));
        let snapshot = Engine::open().unwrap().read(Family::V4).unwrap();
        assert_eq!((snapshot.generation, &snapshot.ruleset), (1, &ruleset));
        let rule = &snapshot.ruleset.table(TableKind::Filter).unwrap().builtin[0].rules[1];
        assert_ne!(rule.slot, Slot::UNASSIGNED);
        assert_eq!(rule.counters(&snapshot.counters), Counters { packets: 7, bytes: 700 });
    });
}

#[test]
fn thirty_commits_go_round_the_slots_and_keep_slots_of_rules_that_stay() {
    in_namespace(|| {
        let mut engine = Engine::open().unwrap();
        let mut ruleset = Ruleset::new(Family::V4);
        ruleset.table_mut(TableKind::Mangle).builtin[0].rules = rules(&Target::None, 1);
        for round in 1..=30 {
            ruleset.table_mut(TableKind::Filter).builtin[2].rules = rules(&Target::None, round);
            let committed = engine.commit(&mut ruleset).unwrap();
            assert_eq!(committed.generation, round as u32);
            let snapshot = Engine::open().unwrap().read(Family::V4).unwrap();
            assert_eq!(snapshot.ruleset, ruleset, "round {round}");
            let kept = snapshot.ruleset.table(TableKind::Mangle).unwrap().builtin[0].rules[0].slot;
            assert_eq!(kept, ruleset.table(TableKind::Mangle).unwrap().builtin[0].rules[0].slot);
            assert_eq!(snapshot.counters.get(Slot::UNASSIGNED), Counters::default());
        }
    });
}

#[test]
fn more_rules_than_a_chunk_of_counters_holds_are_read_back() {
    in_namespace(|| {
        let mut ruleset = Ruleset::new(Family::V4);
        ruleset.table_mut(TableKind::Filter).builtin[0].rules = rules(&Target::None, 10_000);
        for (index, rule) in ruleset.table_mut(TableKind::Filter).builtin[0].rules.iter_mut().enumerate() {
            rule.offset = Counters { packets: index as u64, bytes: 1 };
        }
        Engine::open().unwrap().commit(&mut ruleset).unwrap();
        let snapshot = Engine::open().unwrap().read(Family::V4).unwrap();
        let rules = &snapshot.ruleset.table(TableKind::Filter).unwrap().builtin[0].rules;
        assert_eq!(rules.len(), 10_000);
        for (index, rule) in rules.iter().enumerate() {
            assert_eq!(rule.counters(&snapshot.counters), Counters { packets: index as u64, bytes: 1 });
        }
    });
}

#[test]
fn a_commit_on_what_another_replaced_is_refused_and_changes_nothing() {
    in_namespace(|| {
        let (mut mine, mut theirs) = (Engine::open().unwrap(), Engine::open().unwrap());
        let mut ruleset = mine.read(Family::V4).unwrap().ruleset;
        let mut other = theirs.read(Family::V4).unwrap().ruleset;
        other.table_mut(TableKind::Raw);
        theirs.commit(&mut other).unwrap();
        ruleset.table_mut(TableKind::Filter);
        let error = mine.commit(&mut ruleset).unwrap_err();
        assert!(matches!(error, EngineError::Raced { expected: 0, found: 1 }), "{error}");
        let snapshot = mine.read(Family::V4).unwrap();
        assert_eq!((snapshot.generation, &snapshot.ruleset), (1, &other));
        let mut again = snapshot.ruleset;
        again.table_mut(TableKind::Filter);
        assert_eq!(mine.commit(&mut again).unwrap().generation, 2);
    });
}

#[test]
fn a_ruleset_that_does_not_compile_leaves_the_live_one_alone() {
    in_namespace(|| {
        let mut engine = Engine::open().unwrap();
        let mut bad = Ruleset::new(Family::V4);
        bad.table_mut(TableKind::Filter).builtin[0].rules = rules(&Target::Jump(ChainName::from("nowhere")), 1);
        assert!(matches!(engine.commit(&mut bad), Err(EngineError::Compile(_))));
        assert_eq!(engine.read(Family::V4).unwrap().generation, 0);
        let mut good = Ruleset::new(Family::V4);
        good.table_mut(TableKind::Filter);
        engine.commit(&mut good).unwrap();
        assert!(matches!(engine.commit(&mut bad), Err(EngineError::Compile(_))));
        let snapshot = engine.read(Family::V4).unwrap();
        assert_eq!((snapshot.generation, snapshot.ruleset), (1, good));
    });
}

#[test]
fn families_have_rules_generations_and_programs_of_their_own() {
    in_namespace(|| {
        let mut engine = Engine::open().unwrap();
        let mut six = Ruleset::new(Family::V6);
        six.table_mut(TableKind::Filter).builtin[0].rules = rules(&Target::Drop, 1);
        assert_eq!(engine.commit(&mut six).unwrap().generation, 1);
        assert_eq!(engine.read(Family::V4).unwrap().generation, 0, "IPv4 is as it was");
        assert!(engine.program("bt_ingress_l2").is_err() && engine.program("bt6_ingress_l2").is_ok());
        let mut four = Ruleset::new(Family::V4);
        four.table_mut(TableKind::Raw);
        engine.commit(&mut four).unwrap();
        assert_eq!(engine.commit(&mut four).unwrap().generation, 2);
        let snapshot = Engine::open().unwrap().read(Family::V6).unwrap();
        assert_eq!((snapshot.generation, snapshot.ruleset), (1, six));
        assert!(engine.uninstall().unwrap());
        assert_eq!(engine.read(Family::V6).unwrap().generation, 0);
    });
}

#[test]
fn listing_a_table_initialises_it_once_there_are_rules() {
    in_namespace(|| {
        let mut engine = Engine::open().unwrap();
        let mut ruleset = Ruleset::new(Family::V4);
        ruleset.table_mut(TableKind::Filter);
        engine.commit(&mut ruleset).unwrap();
        assert!(engine.record_initialised(Family::V4, TableKind::Raw).unwrap());
        assert!(!engine.record_initialised(Family::V4, TableKind::Raw).unwrap());
        let kinds: Vec<TableKind> = engine.read(Family::V4).unwrap().ruleset.tables.iter().map(|t| t.kind).collect();
        assert_eq!(kinds, [TableKind::Filter, TableKind::Raw]);
    });
}

#[test]
fn rules_and_the_nat_table_set_lo_and_uninstalling_puts_it_back() {
    in_namespace(|| {
        let settings = || {
            ["accept_local", "route_localnet", "forwarding"]
                .map(|name| std::fs::read_to_string(format!("/proc/sys/net/ipv4/conf/lo/{name}")).unwrap())
        };
        let before = settings();
        let mut engine = Engine::open().unwrap();
        let mut ruleset = Ruleset::new(Family::V4);
        ruleset.table_mut(TableKind::Filter).builtin[0].rules.extend(rules(&Target::Accept, 1));
        engine.commit(&mut ruleset).unwrap();
        assert_eq!(settings().map(|s| s.trim().to_owned()), ["0", "0", "1"]);
        ruleset.table_mut(TableKind::Nat);
        engine.commit(&mut ruleset).unwrap();
        assert_eq!(settings().map(|s| s.trim().to_owned()), ["1", "1", "1"]);
        assert!(engine.uninstall().unwrap());
        assert_eq!(settings(), before);
        assert_eq!(engine.read(Family::V4).unwrap().generation, 0);
    });
}

#[test]
fn a_kept_ruleset_is_given_out_again_until_somebody_else_commits() {
    in_namespace(|| {
        let mut engine = Engine::open().unwrap();
        let mut ruleset = engine.read(Family::V4).unwrap().ruleset;
        for round in 1..=5 {
            ruleset.table_mut(TableKind::Filter).builtin[0].rules.extend(rules(&Target::Accept, 1));
            ruleset.table_mut(TableKind::Raw);
            let committed = if round == 1 {
                engine.commit(&mut ruleset).unwrap()
            } else {
                engine.commit_table(&mut ruleset, TableKind::Filter).unwrap()
            };
            engine.keep(ruleset);
            // Others read from the kernel what this engine has in memory.
            let theirs = Engine::open().unwrap().read(Family::V4).unwrap();
            let snapshot = engine.read(Family::V4).unwrap();
            assert_eq!((snapshot.generation, &snapshot.ruleset), (committed.generation, &theirs.ruleset));
            assert_eq!(snapshot.counters, theirs.counters);
            assert!(engine.counters_if_current(Family::V4).unwrap().is_some());
            ruleset = snapshot.ruleset;
        }
        engine.keep(ruleset);
        let mut other = Engine::open().unwrap();
        let mut theirs = other.read(Family::V4).unwrap().ruleset;
        theirs.table_mut(TableKind::Filter).builtin[2].rules = rules(&Target::Drop, 2);
        other.commit(&mut theirs).unwrap();
        assert!(engine.counters_if_current(Family::V4).unwrap().is_none());
        assert_eq!(engine.read(Family::V4).unwrap().ruleset, theirs);
    });
}

#[test]
fn what_was_kept_is_forgotten_when_everything_was_removed_and_made_anew() {
    in_namespace(|| {
        let mut engine = Engine::open().unwrap();
        let mut ruleset = engine.read(Family::V4).unwrap().ruleset;
        ruleset.table_mut(TableKind::Filter).builtin[0].rules = rules(&Target::Drop, 3);
        engine.commit(&mut ruleset).unwrap();
        engine.keep(ruleset);
        let mut other = Engine::open().unwrap();
        assert!(other.uninstall().unwrap());
        let mut theirs = other.read(Family::V4).unwrap().ruleset;
        theirs.table_mut(TableKind::Filter).builtin[0].rules = rules(&Target::Accept, 1);
        other.commit(&mut theirs).unwrap();
        // The same generation in the same slot, of another image.
        let snapshot = engine.read(Family::V4).unwrap();
        assert_eq!((snapshot.generation, &snapshot.ruleset), (1, &theirs));
    });
}

#[test]
fn what_limit_and_nth_remember_is_carried_over_a_commit_of_another_table_only() {
    let limited = || {
        let limit = Limit { average: 10_000 * 3600, burst: 5 };
        Rule::new(IpMatch::default(), vec![Match::Limit(limit)], Target::Accept)
    };
    let nth = || {
        let mode = StatisticMode::Nth { every: 6, packet: 0 };
        Rule::new(IpMatch::default(), vec![Match::Statistic(Statistic { mode, invert: false })], Target::Accept)
    };
    in_namespace(|| {
        let mut engine = Engine::open().unwrap();
        let mut ruleset = Ruleset::new(Family::V4);
        let table = ruleset.table_mut(TableKind::Filter);
        table.builtin[2].rules = vec![nth(), limited()];
        table.builtin[2].policy = Some(Policy::Drop);
        engine.commit(&mut ruleset).unwrap();
        let socket = || std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let (from, to) = (socket(), socket());
        let send = |count: usize| {
            for _ in 0..count {
                let _ = from.send_to(b"x", to.local_addr().unwrap());
            }
        };
        // Of seven packets one is the nth; a burst of five is let pass, the rest dropped.
        let counted = |engine: &mut Engine| {
            let snapshot = engine.read(Family::V4).unwrap();
            let chain = &snapshot.ruleset.table(TableKind::Filter).unwrap().builtin[2];
            let packets = |rule: &Rule| rule.counters(&snapshot.counters).packets;
            (packets(&chain.rules[0]), packets(&chain.rules[1]))
        };
        send(4);
        assert_eq!(counted(&mut engine), (1, 3));
        for _ in 0..5 {
            let mut ruleset = engine.read(Family::V4).unwrap().ruleset;
            ruleset.table_mut(TableKind::Raw).builtin[0].rules.extend(rules(&Target::None, 1));
            engine.commit(&mut ruleset).unwrap();
        }
        // The fifth to eleventh: the eighth is the next nth, and the burst has two left.
        send(7);
        assert_eq!(counted(&mut engine), (2, 5));
        // Its own table's change begins anew, as legacy's does: the first is an nth, and the burst is whole.
        let mut ruleset = engine.read(Family::V4).unwrap().ruleset;
        ruleset.table_mut(TableKind::Filter).builtin[0].rules = rules(&Target::None, 1);
        engine.commit(&mut ruleset).unwrap();
        send(6);
        assert_eq!(counted(&mut engine), (3, 10));
    });
}
