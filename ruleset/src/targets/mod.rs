//! The targets, one file each.

pub mod connmark;
pub mod mark;
pub mod masquerade;
pub mod nat;
pub mod netmap;
pub mod redirect;
pub mod reject;

pub use connmark::ConnmarkSet;
pub use mark::MarkSet;
pub use masquerade::Masquerade;
pub use nat::NatRange;
pub use netmap::Netmap;
pub use redirect::Redirect;
pub use reject::RejectWith;

use crate::chain::ChainName;
use serde::{Deserialize, Serialize};

/// What a rule does with a packet that it matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Target {
    /// No `-j`: counts only.
    None,
    /// `-j ACCEPT`.
    Accept,
    /// `-j DROP`.
    Drop,
    /// `-j RETURN`.
    Return,
    /// `-j CHAIN`.
    Jump(ChainName),
    /// `-g CHAIN`.
    Goto(ChainName),
    /// `-j REJECT`.
    Reject(RejectWith),
    /// `-j MARK`.
    Mark(MarkSet),
    /// `-j CONNMARK`.
    Connmark(ConnmarkSet),
    /// `-j DNAT`.
    Dnat(NatRange),
    /// `-j SNAT`.
    Snat(NatRange),
    /// `-j MASQUERADE`.
    Masquerade(Masquerade),
    /// `-j REDIRECT`.
    Redirect(Redirect),
    /// `-j NETMAP`.
    Netmap(Netmap),
    /// `-j CT --notrack`.
    CtNotrack,
    /// `-j NOTRACK`.
    Notrack,
}
