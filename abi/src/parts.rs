//! Parts of the programs. Those of a namespace are loaded with the parts that its rules ask for, and no others: the verifier, who sees
//! which ones by a frozen constant ([`CONSTANT`]), takes time for no code that cannot be reached, and packets do not carry it.
//!
//! A part is named by the flag of the image that asks for it.

use crate::image::{
    FLAG_CONNTRACK, FLAG_DEFRAG, FLAG_HEADERS, FLAG_NAT, FLAG_RECENT, FLAG_SELDOM, FLAG_SETS, FLAG_TRACE,
};
use crate::ops::{op, target};

/// The programs' constant that holds their parts.
pub const CONSTANT: &str = "bt_parts";

/// Flags of an image that are parts.
pub const ALL: u32 = COMMON | FLAG_DEFRAG | FLAG_HEADERS | FLAG_RECENT | FLAG_SELDOM | FLAG_SETS | FLAG_TRACE;

/// What whoever needs any part needs sooner or later.
pub const COMMON: u32 = FLAG_CONNTRACK | FLAG_NAT;

/// The parts of programs that are loaded for the first time. Where there are no rules yet, those that come will most likely ask for some.
#[must_use]
pub const fn first(asked: u32, rules: bool) -> u32 {
    if asked == 0 && rules { 0 } else { asked | COMMON }
}

/// The parts to load where those that are there are fewer than rules ask for now: so many that it happens twice at most in the life of a
/// namespace's programs.
#[must_use]
pub const fn grown(there: u32, asked: u32) -> u32 {
    if there == 0 { asked | COMMON } else { ALL }
}

/// Whether programs with these parts track connections.
#[must_use]
pub const fn track(parts: u32) -> bool {
    parts & FLAG_CONNTRACK != 0
}

/// The part that runs an op; 0: all programs do.
#[must_use]
pub const fn of_op(op: u8) -> u32 {
    match op {
        op::CT..=op::CT_DIR => FLAG_CONNTRACK,
        op::RECENT => FLAG_RECENT,
        op::SET => FLAG_SETS,
        op::SOCKET => FLAG_DEFRAG,
        op::AH6..=op::EUI64 => FLAG_HEADERS,
        op::SCTP
        | op::DCCP
        | op::SPI
        | op::TCPMSS
        | op::DEVGROUP
        | op::RPFILTER
        | op::CGROUP
        | op::CGROUP_PATH
        | op::STRING
        | op::BPF
        | op::U32
        | op::TIME
        | op::QUOTA
        | op::CLUSTER
        | op::HASHLIMIT
        | op::CONNBYTES
        | op::CONNLABEL
        | op::CONNLIMIT
        | op::PHYSDEV
        | op::RATEEST => FLAG_SELDOM,
        _ => 0,
    }
}

/// The part that runs a target; 0: all programs do.
#[must_use]
pub const fn of_target(target: u8) -> u32 {
    match target {
        target::TRACE => FLAG_TRACE,
        target::TPROXY => FLAG_DEFRAG,
        target::SET => FLAG_SETS,
        target::HMARK | target::RATEEST | target::TEE => FLAG_SELDOM,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_grow_twice_at_most() {
        let some = grown(0, FLAG_RECENT);
        assert_eq!(some, FLAG_RECENT | COMMON);
        assert_eq!(grown(some, FLAG_SETS), ALL);
        assert_eq!(grown(first(FLAG_NAT, true), FLAG_TRACE), ALL);
        assert_eq!((first(0, false), first(0, true)), (COMMON, 0));
    }
}
