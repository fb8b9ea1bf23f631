//! Matches of IPv6's own.

use super::Place;
use super::draw::Draw;
use crate::world::Family;

/// One of them, in IPv6.
pub(super) fn any(draw: &mut Draw, place: &Place<'_>) -> Option<String> {
    if place.family == Family::V4 {
        return None;
    }
    Some(match draw.below(8) {
        0 => {
            let of = ["hop", "dst,route", "hop,prot", "frag,prot", "prot", "none", "esp", "auth,prot"];
            format!("-m ipv6header {}--header {}{}", draw.not(), draw.pick(&of), draw.pick(&["", " --soft"]))
        }
        1 => format!(
            "-m frag {}",
            draw.pick(&["--fragfirst", "--fraglast", "--fragmore", "--fragid 4660", "--fragid 1:9999 --fragfirst"])
        ),
        2 => format!(
            "-m rt {}",
            draw.pick(&["--rt-type 0", "! --rt-type 0", "--rt-type 4", "--rt-segsleft 0:1", "--rt-len 24"])
        ),
        3 => format!("-m hbh {}", draw.pick(&["--hbh-len 8", "! --hbh-len 8", "--hbh-opts 1:4", "--hbh-opts 5:2"])),
        4 => format!("-m dst {}", draw.pick(&["--dst-len 8", "! --dst-len 8", "--dst-opts 1:4", "--dst-opts 1"])),
        5 => format!(
            "-m srh {}",
            draw.pick(&["--srh-segs-left-eq 1", "! --srh-next-hdr 17", "--srh-hdr-len-eq 2", "--srh-last-entry-lt 2"])
        ),
        6 => format!("-m ah {}", draw.pick(&["--ahspi 256", "! --ahspi 256", "--ahlen 16", "--ahres"])),
        _ if place.only(&["PREROUTING", "INPUT", "FORWARD"]) => "-m eui64".to_owned(),
        _ => return None,
    })
}
