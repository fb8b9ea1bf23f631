//! Policies of IPsec, for the administrator: what they have the kernel wrap meets no rule of ours, so the guard drops it.

use crate::nfnetlink::{self, Attributes};
use bpftables_ruleset::Family;
use netlink_sys::protocols::NETLINK_XFRM;
use std::fs;
use std::io;

const XFRM_MSG_GETPOLICY: u16 = 0x15;
const XFRMA_TMPL: u16 = 5;
const XFRMA_IF_ID: u16 = 31;
/// In `struct xfrm_userpolicy_info`, less the four bytes that a message has before its body: the selector's family, the direction, and the end.
const FAMILY: usize = 36;
const DIRECTION: usize = 156;
const END: usize = 164;
/// `XFRM_POLICY_OUT`.
const OUT: u8 = 1;
/// Of `struct xfrm_user_tmpl`, and where its mode is; 0: transport.
const TEMPLATE: usize = 64;
const MODE: usize = 48;

/// How many policies of a family wrap packets, or unwrap them in transport mode, other than those of xfrm devices. None where that can't be read.
pub(crate) fn policies(family: Family) -> usize {
    // Asking would load the module.
    if !spoken().unwrap_or(false) {
        return 0;
    }
    let messages = match nfnetlink::dump_of(NETLINK_XFRM, XFRM_MSG_GETPOLICY, 0) {
        Ok(messages) => messages,
        Err(error) => {
            tracing::debug!(%error, "policies of IPsec can't be read");
            return 0;
        }
    };
    let af = match family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    messages.iter().filter(|message| concerns(message.body(), af as u16)).count()
}

/// Whether somebody in the kernel speaks IPsec's protocol of netlink in this network namespace.
fn spoken() -> io::Result<bool> {
    let text = fs::read_to_string("/proc/thread-self/net/netlink")?;
    let protocol = NETLINK_XFRM.to_string();
    Ok(text.lines().any(|line| line.split_whitespace().nth(1) == Some(&*protocol)))
}

fn concerns(policy: &[u8], af: u16) -> bool {
    let (Some(family), Some(direction), Some(rest)) =
        (policy.get(FAMILY..FAMILY + 2), policy.get(DIRECTION), policy.get(END..))
    else {
        return false;
    };
    let attributes = Attributes(rest);
    let by_device = attributes.get(XFRMA_IF_ID).is_some_and(|id| id.iter().any(|byte| *byte != 0));
    let mut templates = attributes.get(XFRMA_TMPL).unwrap_or(&[]).chunks_exact(TEMPLATE);
    family == af.to_ne_bytes() && !by_device && templates.any(|template| *direction == OUT || template[MODE] == 0)
}

/// What is to be said of so many.
pub(crate) fn warning(policies: usize) -> Option<String> {
    let many = match policies {
        0 => return None,
        1 => "a policy of IPsec is".to_owned(),
        n => format!("{n} policies of IPsec are"),
    };
    Some(format!(
        "{many} in force: what IPsec wraps, or unwraps in transport mode, meets no rule and is dropped (drop_ipsec of `bpftables status`), \
         unless an xfrm or a VTI device does it"
    ))
}
