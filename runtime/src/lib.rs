//! Everything of bpftables that touches the kernel: loading, attaching, swapping, counters, netlink.
//!
//! [`Engine`] is the way in. Minimum kernel version: Linux 6.6 (tcx links), with BTF.
//!
//! Architecture Invariant: `unsafe` and raw system calls live in [`sys`] alone.

mod addrs;
mod attach;
mod cgroups;
mod chains;
mod commit;
mod connections;
mod conntrack;
mod counters;
mod daytime;
mod demand;
mod devices;
mod engine;
mod error;
mod events;
mod guard;
mod handover;
mod image;
mod import;
mod index;
mod install;
mod ipsec;
pub mod kfuncs;
mod location;
mod logline;
mod neighbours;
mod netlink;
mod nflog;
mod nfnetlink;
mod nftables;
mod outage;
mod outputs;
mod part;
mod pcapng;
mod record;
mod rights;
mod segment;
mod serve;
mod sets;
mod slots;
mod state;
mod status;
pub mod sys;
mod sysctl;
mod upgrade;
mod watch;

pub use conntrack::{Change, Connection, Flow, TableLimit, Watched};
pub use counters::{CountersThen, KernelCounters};
pub use devices::{Bridged, Coverage, Device, Framing, Shown};
pub use engine::{Committed, Engine, Snapshot};
pub use error::{EngineError, Result};
pub use handover::{Exported, Hold};
pub use neighbours::Neighbour;
pub use nftables::{NftTable, nft_tables};
pub use outputs::{Outputs, Sink};
pub use part::Part;
pub use serve::{Agent, Served};
pub use status::{DeviceStatus, Hooked, Stat, Status};
