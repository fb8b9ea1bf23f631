//! `-j SET`: what rules change of the kernel's sets. The programs keep it in a map, where searches of the sets meet it at once
//! (`ebpf/c/set_change.h`); the agent brings it into the sets.
//!
//! A set belongs to both families where its elements do (ports, link addresses), so both families' programs share one map.

use super::{ATTRIBUTES, Finder, PROTOCOL, SUBSYSTEM, text};
use crate::error::{Doing, Result};
use crate::install::Installed;
use crate::location::Home;
use crate::nfnetlink::{NESTED, Requests, attribute};
use crate::sys::bpf::{self, Map};
use crate::sys::grace::Passing;
use crate::sys::mmap::Mapping;
use crate::sys::ns;
use bpftables_abi::maps;
use bpftables_abi::sets::{
    HAS_CIDR, HAS_IP, HAS_IP2, HAS_MAC, HAS_MARK, HAS_PORT, HAS_PROTO, HAS_TIMEOUT, SET_ADDED, SET_HOSTS, SetChange,
    SetHead, SetKey, SetProbe,
};
use bpftables_ruleset::Family;
use std::collections::BTreeMap;
use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;
use zerocopy::FromZeros;

/// `IPSET_CMD_ADD` and `IPSET_CMD_DEL`.
const CMD_ADD: u8 = 9;
const CMD_DEL: u8 = 10;
/// `IPSET_ATTR_SETNAME`.
const SET_NAME: u16 = 2;
/// `IPSET_ATTR_DATA`, and what is in it.
const DATA: u16 = 7;
const IP: u16 = 1;
const CIDR: u16 = 3;
const PORT: u16 = 4;
const TIMEOUT: u16 = 6;
const PROTO: u16 = 7;
const MARK: u16 = 10;
const ETHER: u16 = 17;
const IP2: u16 = 20;
const CIDR2: u16 = 21;
/// `IPSET_ATTR_IPADDR_IPV4` and `_IPV6`.
const ADDRESS: [u16; 2] = [1, 2];
/// `NLA_F_NET_BYTEORDER`.
const NETWORK: u16 = 0x4000;
/// `NFPROTO_IPV6`.
const IPV6: u8 = 10;
const SECOND: u64 = 1_000_000_000;
/// For the proof that programs have passed; after this the kernel is asked to wait.
const PASS_AT_MOST: Duration = Duration::from_millis(100);

/// The maps of changes, as they stand in a family's outer maps.
struct Maps {
    heads: OwnedFd,
    changes: OwnedFd,
}

impl Maps {
    fn find(installed: &Installed) -> Result<Option<Self>> {
        let doing = || "open the changes of sets".to_owned();
        let inner = |name| -> Result<Option<OwnedFd>> {
            let id = installed.map::<u32, u32>(name)?.get(&0).doing(doing)?;
            id.map(bpf::map_by_id).transpose().doing(doing)
        };
        let (heads, changes) = (inner(maps::SET_HEADS)?, inner(maps::SET_CHANGES)?);
        Ok(heads.zip(changes).map(|(heads, changes)| Self { heads, changes }))
    }

    fn make() -> Result<Self> {
        let doing = || "make the map of sets' changes".to_owned();
        let flags = bpf::F_INNER_MAP | bpf::F_MMAPABLE;
        let heads = bpf::create_array("bt_set_head", size_of::<SetHead>() as u32, 1, flags).doing(doing)?;
        let (key, value) = (size_of::<SetKey>() as u32, size_of::<SetChange>() as u32);
        let changes = bpf::create_hash("bt_set_change", key, value, maps::SET_CHANGES_MAX).doing(doing)?;
        Ok(Self { heads, changes })
    }

    fn put(&self, installed: &Installed) -> Result<()> {
        let doing = || "put the map of sets' changes into place".to_owned();
        // Programs look whether there is a head.
        for (name, map) in [(maps::SET_CHANGES, &self.changes), (maps::SET_HEADS, &self.heads)] {
            installed.map::<u32, u32>(name)?.set(&0, &map.as_raw_fd().cast_unsigned()).doing(doing)?;
        }
        Ok(())
    }
}

/// Sees to it that programs have the map of changes if rules of this family change sets (`changing`), or those of the other one do.
pub(crate) fn prepare(home: &Home, installed: &Installed, changing: bool) -> Result<()> {
    if Maps::find(installed)?.is_some() {
        return Ok(());
    }
    let other = match installed.family {
        Family::V4 => Family::V6,
        Family::V6 => Family::V4,
    };
    // What another version left there is nobody's.
    let other = Installed::open(&home.of(other)).ok().flatten();
    let theirs = other.as_ref().map(Maps::find).transpose()?.flatten();
    if let Some(maps) = theirs {
        return maps.put(installed);
    }
    if !changing {
        return Ok(());
    }
    let made = Maps::make()?;
    if let Some(other) = other {
        made.put(&other)?;
    }
    made.put(installed)
}

/// Brings what rules changed into the kernel's sets. The caller holds the locks of a commit, and is in the namespace.
pub(crate) fn bring(installed: &Installed) -> Result<()> {
    let Some(maps) = Maps::find(installed)? else { return Ok(()) };
    let doing = || "look for changes of sets".to_owned();
    let head = Mapping::new(maps.heads.as_fd(), size_of::<SetHead>(), true).doing(doing)?;
    let some = |heap: u32| offset_of!(SetHead, some) + heap as usize * 4;
    let heap = head.load_u32(offset_of!(SetHead, heap)) & 1;
    if head.load_u32(some(0)) | head.load_u32(some(1)) == 0 {
        return Ok(());
    }
    let Some(finder) = Finder::informed(installed)? else { return Ok(()) };
    let changes = Map::new(maps.changes).doing(doing)?;
    let mut bringing = Bringing { finder, names: BTreeMap::new(), requests: Requests::open().doing(doing)? };
    // One that was left by an agent that ended is older.
    for old in [heap ^ 1, heap] {
        if head.load_u32(some(old)) == 0 {
            continue;
        }
        head.store_u32(offset_of!(SetHead, heap), old ^ 1);
        if !Passing::begin(bpf::possible_cpus().doing(doing)?).passed(PASS_AT_MOST) {
            let outer = installed.map::<u32, u32>(maps::SET_HEADS)?;
            outer.set(&0, &maps.heads.as_raw_fd().cast_unsigned()).doing(doing)?;
        }
        bringing.heap(&changes, old)?;
        head.store_u32(some(old), 0);
    }
    Ok(())
}

/// What is needed to bring changes into sets.
struct Bringing {
    finder: Finder,
    /// By place in the kernel: names and guards; none: no set is there any more.
    names: BTreeMap<u64, Option<(String, u32)>>,
    requests: Requests,
}

impl Bringing {
    /// All of a heap that no program writes into any more.
    fn heap(&mut self, changes: &Map<SetKey, SetChange>, heap: u32) -> Result<()> {
        let doing = || "read the changes of sets".to_owned();
        let mut all = Vec::new();
        for key in changes.keys().doing(doing)?.into_iter().filter(|key| key.heap == heap) {
            all.extend(changes.get(&key).doing(doing)?.map(|change| (key, change)));
        }
        all.sort_by_key(|(key, change)| (change.at, *key));
        for (key, change) in all {
            if change.what != SET_HOSTS
                && let Some(name) = self.name(&key)?
            {
                let now = ns::monotonic_ns().doing(|| "read the clock".to_owned())?;
                let (command, attributes) = request(&name, &change, now);
                // Not there any more, or full: what the kernel says then it says to nobody in legacy either.
                if let Err(error) = self.requests.send(SUBSYSTEM, command, change.family, 0, &attributes) {
                    tracing::debug!(%error, set = name, "a change was not made");
                }
            }
            changes.remove(&key).doing(doing)?;
        }
        Ok(())
    }

    /// The name of a change's set now.
    fn name(&mut self, key: &SetKey) -> Result<Option<String>> {
        if !self.names.contains_key(&key.set) {
            let answer = self.finder.at(key.set)?;
            self.names.insert(key.set, answer.map(|answer| (text(&answer.name), answer.guard)));
        }
        let known = self.names.get(&key.set).cloned().flatten();
        Ok(known.filter(|(_, guard)| *guard == key.guard).map(|(name, _)| name))
    }
}

impl Finder {
    /// One that knows where sets are already.
    fn informed(installed: &Installed) -> Result<Option<Self>> {
        if !installed.has_program(maps::SET_PROBES[usize::from(installed.family == Family::V6)]) {
            return Ok(None);
        }
        Ok(Some(Self::open(installed)?).filter(|finder| finder.conf.net_id != 0))
    }

    /// The set at a place in the kernel.
    fn at(&self, set: u64) -> Result<Option<SetProbe>> {
        let answer = self.ask(&SetProbe { set, net_id: self.conf.net_id, ..SetProbe::new_zeroed() })?;
        Ok((answer.found == 1).then_some(answer))
    }
}

/// The command that makes a change, and its attributes.
fn request(set: &str, change: &SetChange, now: u64) -> (u8, Vec<u8>) {
    let gone = change.expires != 0 && change.expires <= now;
    let add = change.what == SET_ADDED && !gone;
    let has = |bit: u8| change.has & bit != 0;
    let address = |kind: u16, ip: &[u8; 16]| {
        let inner = match change.family {
            IPV6 => attribute(ADDRESS[1] | NETWORK, ip),
            _ => attribute(ADDRESS[0] | NETWORK, &ip[..4]),
        };
        attribute(kind | NESTED, &inner)
    };
    let mut data = Vec::new();
    if has(HAS_IP) {
        data.extend(address(IP, &change.ip));
    }
    if has(HAS_PORT) {
        data.extend(attribute(PORT | NETWORK, &change.port));
    }
    if has(HAS_PROTO) {
        data.extend(attribute(PROTO, &[change.proto]));
    }
    if has(HAS_IP2) {
        data.extend(address(IP2, &change.ip2));
    }
    if has(HAS_CIDR) {
        data.extend(attribute(if has(HAS_IP2) { CIDR2 } else { CIDR }, &[change.cidr]));
    }
    if has(HAS_MARK) {
        data.extend(attribute(MARK | NETWORK, &change.mark.to_be_bytes()));
    }
    if has(HAS_MAC) {
        data.extend(attribute(ETHER, &change.mac));
    }
    if add && has(HAS_TIMEOUT) {
        let seconds = if change.expires == 0 { 0 } else { (change.expires - now).div_ceil(SECOND) };
        data.extend(attribute(TIMEOUT | NETWORK, &(seconds as u32).to_be_bytes()));
    }
    let name = attribute(SET_NAME, &[set.as_bytes(), &[0]].concat());
    let all = [attribute(ATTRIBUTES[0], &[PROTOCOL]), name, attribute(DATA | NESTED, &data)].concat();
    (if add { CMD_ADD } else { CMD_DEL }, all)
}
