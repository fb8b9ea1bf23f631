//! `-m addrtype` (xt_addrtype.c, rev 1). Types are bits by RTN_* number (`1 << RTN_LOCAL`).

use serde::{Deserialize, Serialize};

/// `-m addrtype` (xt_addrtype.c, rev 1). Types are bits by RTN_* number (`1 << RTN_LOCAL`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Addrtype {
    /// `--src-type`, 0: not asked.
    pub src: u16,
    /// `! --src-type`.
    pub invert_src: bool,
    /// `--dst-type`, 0: not asked.
    pub dst: u16,
    /// `! --dst-type`.
    pub invert_dst: bool,
    /// `--limit-iface-in`.
    pub limit_in: bool,
    /// `--limit-iface-out`.
    pub limit_out: bool,
}
