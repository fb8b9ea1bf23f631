//! Packet and byte counters, and how a rule's counters are told from what the kernel has counted.

use serde::{Deserialize, Serialize};

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Counters {
    /// Number of packets.
    pub packets: u64,
    /// Number of bytes, by IP total length.
    pub bytes: u64,
}

impl Counters {
    /// Wrapping sum: offsets are stored as wrapped differences.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self { packets: self.packets.wrapping_add(other.packets), bytes: self.bytes.wrapping_add(other.bytes) }
    }

    /// Wrapping difference.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self { packets: self.packets.wrapping_sub(other.packets), bytes: self.bytes.wrapping_sub(other.bytes) }
    }
}

/// The place in the kernel where a rule or a policy counts. It stays the same while the rule lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Slot(pub u32);

impl Slot {
    /// Not given by the runtime yet: nothing was counted.
    pub const UNASSIGNED: Self = Self(u32::MAX);
}

/// What the kernel has counted so far, by slot. What a person sees of a rule is `view.get(slot)` plus the rule's offset.
pub trait CounterView {
    /// The kernel's count in `slot`; zero for [`Slot::UNASSIGNED`].
    fn get(&self, slot: Slot) -> Counters;
}

/// A view in which nothing was ever counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCounters;

impl CounterView for NoCounters {
    fn get(&self, _slot: Slot) -> Counters {
        Counters::default()
    }
}
