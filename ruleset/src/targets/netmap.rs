//! `-j NETMAP` (xt_NETMAP.c): the bits under `mask` are replaced by those of `addr`.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// `-j NETMAP` (xt_NETMAP.c): the bits under `mask` are replaced by those of `addr`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Netmap {
    /// Network address.
    pub addr: IpAddr,
    /// Mask.
    pub mask: IpAddr,
}
