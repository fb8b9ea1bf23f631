//! Every program of both objects loads on this kernel, within a budget of the verifier's work.

use aya::programs::{Program, ProgramInfo};
use aya::{Btf, EbpfLoader, VerifierLogLevel};
use bpftables_abi::parts;
use bpftables_ebpf::{OBJECT4, OBJECT6, Object};
use bpftables_runtime::kfuncs;
use zerocopy::IntoBytes;

/// What the verifier may process of one program, its functions included: the kernel's limit is a million, and kernels differ by a
/// factor in how soon they see that two ways are one.
const BUDGET: u32 = 300_000;
/// The same of programs for rules that ask for no part of theirs.
const BARE_BUDGET: u32 = 100_000;

#[test]
fn every_program_of_ipv4_loads_within_the_verifiers_budget() {
    load(&OBJECT4, parts::ALL, BUDGET);
    load(&OBJECT4, 0, BARE_BUDGET);
}

#[test]
fn every_program_of_ipv6_loads_within_the_verifiers_budget() {
    load(&OBJECT6, parts::ALL, BUDGET);
    load(&OBJECT6, 0, BARE_BUDGET);
}

fn load(object: &Object, parts: u32, budget: u32) {
    let btf = Btf::from_sys_fs().expect("the kernel's types");
    let mut loader = EbpfLoader::new();
    // A log makes the verifier many times slower.
    loader.btf(Some(&btf)).override_global(parts::CONSTANT, &parts, true).verifier_log_level(VerifierLogLevel::STATS);
    let linked = kfuncs::link(object.bytes, &btf).expect("the kernel's functions");
    let mut ebpf = loader.load(&linked.as_bytes()[..object.bytes.len()]).expect("the object");
    let mut names: Vec<String> = ebpf.programs().map(|(name, _)| name.to_owned()).collect();
    names.sort_unstable();
    assert!(names.len() >= 4, "{names:?}");
    let mut over = Vec::new();
    println!("{:24} {:>12} {:>12}", format!("program, parts {parts:x}"), "instructions", "verified");
    for name in names {
        let Some(Program::SchedClassifier(program)) = ebpf.program_mut(&name) else {
            panic!("{name} is no classifier");
        };
        program.load().unwrap_or_else(|e| panic!("{name}: {e}"));
        let info: ProgramInfo = program.info().expect("what the kernel knows of it");
        let verified = info.verified_instruction_count().expect("Linux 5.16 or newer");
        let instructions = info.size_translated().map_or(0, |bytes| bytes / 8);
        println!("{name:24} {instructions:12} {verified:12}");
        if verified > budget {
            over.push(format!("{name}: {verified}"));
        }
    }
    assert!(over.is_empty(), "over the budget of {budget}: {}", over.join(", "));
}
