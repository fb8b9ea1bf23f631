//! `-m conntrack` (xt_conntrack.c, struct xt_conntrack_mtinfo3). A field that is `None` is not asked. The flag in each pair is `!`.

use super::{CtStates, CtStatus};
use crate::addr::{AddrMatch, PortRange};
use serde::{Deserialize, Serialize};

/// `-m conntrack` (xt_conntrack.c, struct xt_conntrack_mtinfo3). A field that is `None` is not asked. The flag in each pair is `!`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Conntrack {
    /// `--ctstate`: bits of [`super::CtStates`].
    pub state: Option<(CtStates, bool)>,
    /// `--ctproto`.
    pub proto: Option<(u8, bool)>,
    /// `--ctorigsrc`.
    pub orig_src: Option<AddrMatch>,
    /// `--ctorigdst`.
    pub orig_dst: Option<AddrMatch>,
    /// `--ctreplsrc`.
    pub repl_src: Option<AddrMatch>,
    /// `--ctrepldst`.
    pub repl_dst: Option<AddrMatch>,
    /// `--ctorigsrcport`.
    pub orig_src_port: Option<(PortRange, bool)>,
    /// `--ctorigdstport`.
    pub orig_dst_port: Option<(PortRange, bool)>,
    /// `--ctreplsrcport`.
    pub repl_src_port: Option<(PortRange, bool)>,
    /// `--ctrepldstport`.
    pub repl_dst_port: Option<(PortRange, bool)>,
    /// `--ctstatus`: bits of [`super::CtStatus`]; an empty set is NONE.
    pub status: Option<(CtStatus, bool)>,
    /// `--ctexpire LO:HI` in seconds, inclusive.
    pub expires: Option<(u32, u32, bool)>,
    /// `--ctdir`: true is ORIGINAL. The command line has no `!` for it.
    pub direction_original: Option<bool>,
}
