//! Matches that ask for a socket of this host.

use super::Place;
use super::draw::Draw;

/// Who sent it. Packets of the router are of several users and groups.
pub(super) fn owner(draw: &mut Draw, place: &Place<'_>) -> Option<String> {
    let of = [
        "--uid-owner 0",
        "--uid-owner 1000",
        "--gid-owner 0",
        "--gid-owner 7",
        "--gid-owner 5 --suppl-groups",
        "--gid-owner 1000 --suppl-groups",
        "--gid-owner 0-7",
        "--socket-exists",
        "--uid-owner 0-1000",
    ];
    place.only(&["OUTPUT", "POSTROUTING"]).then(|| format!("-m owner {}{}", draw.not(), draw.pick(&of)))
}

/// Its class or group: of a packet that comes, that of the socket it was found for before it was routed.
pub(super) fn cgroup(draw: &mut Draw, place: &Place<'_>) -> Option<String> {
    let of = ["--cgroup 0", "--cgroup 5", "--path \"\""];
    let not = draw.not();
    place.only(&["INPUT", "OUTPUT", "POSTROUTING"]).then(|| format!("-m cgroup {not}{}", draw.pick(&of)))
}

/// Whether there is one that it would come to.
pub(super) fn socket(draw: &mut Draw, place: &Place<'_>) -> Option<String> {
    // docs/deviations.md, "Fragments": legacy puts them together for this as well. Where there are no sockets they are asked for more seldom.
    let whole = place.want.sockets || place.stateful && draw.percent(30);
    let asked = place.only(&["PREROUTING", "INPUT"]) && whole;
    let mut out = "-m socket".to_owned();
    for word in [" --transparent", " --nowildcard", " --restore-skmark"] {
        if draw.percent(30) {
            out += word;
        }
    }
    asked.then_some(out)
}
