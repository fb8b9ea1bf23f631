//! `-j REJECT` (ipt_REJECT.c).

use serde::{Deserialize, Serialize};

/// `--reject-with`, numbered as `enum ipt_reject_with` where used by the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RejectWith {
    /// ICMP 3/0.
    NetUnreachable,
    /// ICMP 3/1.
    HostUnreachable,
    /// ICMP 3/2.
    ProtoUnreachable,
    /// ICMP 3/3, the default.
    PortUnreachable,
    /// ICMP 3/9.
    NetProhibited,
    /// ICMP 3/10.
    HostProhibited,
    /// ICMP 3/13.
    AdminProhibited,
    /// A TCP RST; only with `-p tcp`.
    TcpReset,
}
