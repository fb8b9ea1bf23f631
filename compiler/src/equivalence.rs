//! Generated rulesets and packets: the image, searched as the programs search it, against the linear evaluator.

use crate::interp::{Pick, traverse};
use crate::testgen::{self, Profile};
use crate::{Options, compile};
use bpftables_ruleset::eval::{self, Packet, Simulated};
use bpftables_ruleset::{Family, Ruleset, TableKind};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

fn config(cases: u32) -> ProptestConfig {
    let failure_persistence = Some(Box::new(FileFailurePersistence::Direct("src/equivalence.regressions")) as _);
    ProptestConfig { cases, failure_persistence, max_shrink_iters: 20_000, ..ProptestConfig::default() }
}

/// Lists as the runtime has them; everything classified, in one part; everything in short parts.
fn variants() -> [Options; 4] {
    let bitvec = Options { list_max: 0, hash: false, ..Options::default() };
    [Options::default(), bitvec.clone(), Options { list_max: 2, ..Options::default() }, Options { split: 5, ..bitvec }]
}

fn same(ruleset: &Ruleset, table: TableKind, packets: &[Packet], options: &Options) -> Result<(), TestCaseError> {
    let image = compile(ruleset, options).map_err(|e| TestCaseError::fail(e.to_string()))?;
    for pick in [Pick::First, Pick::Strict] {
        let mut linear_env = Simulated::default();
        linear_env.addrs = match ruleset.family {
            Family::V4 => testgen::addr_types(),
            Family::V6 => testgen::ipv6::addr_types(),
        };
        let mut image_env = linear_env.clone();
        for (index, packet) in packets.iter().enumerate() {
            for env in [&mut linear_env, &mut image_env] {
                (env.seed, env.now) = (index as u64, index as u64 * 7_000);
            }
            for hook in table.hooks() {
                let (mut a, mut b) = (packet.clone(), packet.clone());
                let want = eval::traverse(ruleset, table, *hook, &mut a, &mut linear_env);
                let got = traverse(&image, table, *hook, &mut b, &mut image_env, pick);
                prop_assert_eq!(Ok(want), got, "{:?} {:?} {:?}", hook, pick, options);
                prop_assert_eq!(a, b);
                prop_assert_eq!(&linear_env, &image_env);
            }
        }
    }
    Ok(())
}

fn profile() -> impl Strategy<Value = Profile> {
    let table = prop::sample::select(vec![TableKind::Filter, TableKind::Nat, TableKind::Mangle, TableKind::Raw]);
    (table, any::<bool>()).prop_map(|(table, memory)| Profile { table, memory, ..Profile::ALL })
}

proptest! {
    #![proptest_config(config(500))]

    #[test]
    fn an_image_does_to_every_packet_what_the_ruleset_says(
        (profile, ruleset) in profile().prop_flat_map(|p| (Just(p), testgen::ruleset(p))),
        packets in vec(testgen::packet(), 20),
    ) {
        for options in variants() {
            same(&ruleset, profile.table, &packets, &options)?;
        }
    }
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn an_ipv6_image_does_to_every_packet_what_the_ruleset_says(
        (profile, ruleset) in profile().prop_flat_map(|p| (Just(p), testgen::ruleset(p))),
        packets in vec(testgen::packet(), 20),
    ) {
        let packets: Vec<Packet> = packets.iter().map(testgen::ipv6::packet).collect();
        for options in variants() {
            same(&testgen::ipv6::ruleset(&ruleset), profile.table, &packets, &options)?;
        }
    }
}

proptest! {
    #![proptest_config(config(6))]

    #[test]
    fn chains_of_many_blocks_do_the_same(
        ruleset in testgen::many_rules(Profile { memory: false, ..Profile::ALL }, 9000),
        packets in vec(testgen::packet(), 12),
    ) {
        for options in [Options::default(), Options { split: 3000, ..Options::default() }] {
            same(&ruleset, TableKind::Filter, &packets, &options)?;
            let packets: Vec<Packet> = packets.iter().map(testgen::ipv6::packet).collect();
            same(&testgen::ipv6::ruleset(&ruleset), TableKind::Filter, &packets, &options)?;
        }
    }
}
