//! Follows one network namespace: its devices, addresses and settings, for as long as it has rules of ours.
//!
//! Everything is done under the locks of a commit, so commands and the agent never attach to one device at once.

use crate::addrs;
use crate::attach;
use crate::connections;
use crate::devices::{self, Device, Link};
use crate::error::{Doing, EngineError, Result};
use crate::events::{self, Events};
use crate::guard;
use crate::install::Installed;
use crate::location::{DirLock, Home};
use crate::outage::Outage;
use crate::outputs::Writing;
use crate::sets;
use crate::sys::bpf;
use crate::sysctl;
use bpftables_abi::maps;
use bpftables_ruleset::Family;
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// `RTNLGRP_*`: links, addresses, routes and settings of devices, of both families.
const GROUPS: [u32; 7] = [1, 5, 7, 9, 11, 24, 25];
/// `RTM_NEWNETCONF`: a device's settings.
const SETTINGS: u16 = 80;
/// Bytes that may wait in the socket: some ten thousand messages.
const BUFFER: usize = 16 << 20;

/// Between two times that changes of sets are made.
const SETS_EVERY: Duration = Duration::from_millis(10);

/// What is known of a namespace, and the socket that tells what changes. Belongs to a thread that is in that namespace.
#[derive(Debug)]
pub(crate) struct Watcher {
    socket: Socket,
    /// IPv4's, from which IPv6's is got.
    home: Home,
    links: BTreeMap<u32, Link>,
    /// What the programs of each family were last told of each device.
    done: [BTreeMap<u32, Device>; 2],
    /// By family: the number of the map `bt_control` whose events are read, and the events.
    events: [Option<(u32, Events)>; 2],
    writing: Arc<Writing>,
    first: bool,
    told: Option<Arc<str>>,
    /// When changes of sets were last made.
    brought: Option<Instant>,
    bringing: Outage,
}

/// What became of the namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Followed {
    /// It has rules, and they meet every device.
    Served,
    /// It has no rules any more, or programs of another build, which the next commit replaces.
    Left,
}

/// What a batch of messages says.
#[derive(Debug, Default)]
struct Changes {
    devices: bool,
    routes: bool,
    settings: bool,
    /// Devices that went down or away.
    down: BTreeSet<u32>,
    /// Addresses that were removed.
    gone: Vec<(u32, IpAddr)>,
}

impl Watcher {
    /// For the calling thread's namespace, which lines call `told`; nothing is attached yet.
    pub(crate) fn open(writing: Arc<Writing>, told: Option<Arc<str>>) -> Result<Self> {
        let doing = || "listen to changes of devices".to_owned();
        let mut socket = Socket::new(NETLINK_ROUTE).doing(doing)?;
        socket.set_rx_buf_sz(BUFFER).doing(doing)?;
        socket.bind(&SocketAddr::new(0, 0)).doing(doing)?;
        for group in GROUPS {
            socket.add_membership(group).doing(doing)?;
        }
        socket.set_non_blocking(true).doing(doing)?;
        let home = Home::find(false)?.ok_or_else(|| EngineError::Internal("no BPF file system".to_owned()))?;
        let (links, done, first) = (BTreeMap::new(), Default::default(), events::in_first_namespace());
        let bringing = Outage::new("changes of sets", format!("sets of network namespace {:x}", home.cookie));
        Ok(Self { socket, home, links, done, events: [None, None], writing, first, told, brought: None, bringing })
    }

    /// To wait for changes on, and for events.
    pub(crate) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let events = self.events.iter().flatten().map(|(_, events)| events.descriptor());
        std::iter::once(crate::sys::wait::borrow(&self.socket)).chain(events).collect()
    }

    /// Writes the events that the programs told, and makes the changes of sets.
    pub(crate) fn write_events(&mut self) {
        let links = &self.links;
        let name = |ifindex: u32| links.get(&ifindex).map(|link| link.name.clone()).unwrap_or_default();
        let mut sets = false;
        for (_, events) in self.events.iter_mut().flatten() {
            sets |= events.drain(name);
        }
        if sets {
            // Rules that change the same again and again leave time to others.
            std::thread::sleep(self.brought.map_or(Duration::ZERO, |last| SETS_EVERY.saturating_sub(last.elapsed())));
            self.brought = Some(Instant::now());
            let brought = self.each(|installed, _| sets::changes::bring(installed)).map(drop);
            // What is not brought now stays where it is, for the next time.
            self.bringing.note(brought);
        }
    }

    /// Reads the events of what is pinned now: it may have been removed and made anew, or another family's be there now. True: it was.
    fn open_events(&mut self) -> Result<bool> {
        let mut new = false;
        for family in Family::ALL {
            let Some((installed, _locks)) = installed(&self.home.of(family))? else { continue };
            let doing = || "examine bt_control".to_owned();
            let identity = bpf::map_info(installed.raw_map(maps::CONTROL)?.as_fd()).doing(doing)?.id;
            let events = &mut self.events[family as usize];
            if events.as_ref().is_none_or(|(of, _)| *of != identity) {
                let (writing, told) = (Arc::clone(&self.writing), self.told.clone());
                *events = Some((identity, Events::open(&installed, writing, self.first, self.home.cookie, told)?));
                new = true;
            }
        }
        Ok(new)
    }

    /// Looks at everything anew.
    pub(crate) fn resync(&mut self) -> Result<Followed> {
        self.links = devices::links()?;
        self.done = Default::default();
        self.open_events()?;
        let now = self.now();
        self.each(|installed, done| {
            attach::prune(installed, &now)?;
            apply(installed, &now, done)?;
            addrs::mirror(installed)?;
            sets::changes::bring(installed)?;
            keep_settings(installed)?;
            installed.refresh_settings()
        })
    }

    fn now(&self) -> Vec<Device> {
        devices::devices(&self.links, sysctl::bridged())
    }

    /// Follows sysctls.
    pub(crate) fn refresh(&mut self) -> Result<Followed> {
        if self.open_events()? {
            return self.resync();
        }
        // Whether bridges show their packets to netfilter's hooks is a setting as well.
        let now = self.now();
        self.each(|installed, done| {
            apply(installed, &now, done)?;
            // Those that a full ring did not tell of.
            sets::changes::bring(installed)?;
            installed.refresh_settings()
        })
    }

    /// Takes what the socket has to tell and acts on it.
    pub(crate) fn follow(&mut self) -> Result<Followed> {
        let Some(changes) = self.drain().doing(|| "read changes of devices".to_owned())? else {
            // Some were lost.
            return self.resync();
        };
        let Changes { devices, routes, settings, .. } = changes;
        if !devices && !routes && !settings && changes.down.is_empty() && changes.gone.is_empty() {
            return Ok(Followed::Served);
        }
        let now = self.now();
        self.each(|installed, done| {
            if settings {
                keep_settings(installed)?;
            }
            // Whether a VRF forwards is a setting as well.
            if devices || settings {
                apply(installed, &now, done)?;
            }
            if routes {
                addrs::mirror(installed)?;
            }
            // As nf_nat_masquerade does when a device goes down or loses an address.
            for ifindex in &changes.down {
                let ended = connections::end_masqueraded(installed, *ifindex, None)?;
                tracing::debug!(ifindex, ended, "masqueraded connections of a device that went down");
            }
            for (ifindex, addr) in &changes.gone {
                let ended = connections::end_masqueraded(installed, *ifindex, Some(*addr))?;
                tracing::debug!(ifindex, %addr, ended, "masqueraded connections of an address that went");
            }
            Ok(())
        })
    }

    /// Does something for each family that has rules, under the locks of a commit.
    fn each(&mut self, mut act: impl FnMut(&Installed, &mut BTreeMap<u32, Device>) -> Result<()>) -> Result<Followed> {
        let mut followed = Followed::Left;
        for family in Family::ALL {
            let Some((installed, _locks)) = installed(&self.home.of(family))? else { continue };
            act(&installed, &mut self.done[family as usize])?;
            followed = Followed::Served;
        }
        Ok(followed)
    }

    /// All messages that wait; none when some were lost.
    fn drain(&mut self) -> io::Result<Option<Changes>> {
        let mut changes = Changes::default();
        loop {
            let datagram = match self.socket.recv_from_full() {
                Ok((datagram, _)) => datagram,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Some(changes)),
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => return Ok(None),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            let mut rest = datagram.as_slice();
            while rest.len() >= 16 {
                let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
                let (message, next) = rest.split_at(length.next_multiple_of(4).clamp(16, rest.len()));
                rest = next;
                if u16::from_ne_bytes([message[4], message[5]]) == SETTINGS {
                    changes.settings = true;
                    continue;
                }
                match NetlinkMessage::<RouteNetlinkMessage>::deserialize(message) {
                    Ok(message) => self.note(message.payload, &mut changes),
                    Err(error) => {
                        tracing::debug!(%error, "a message of rtnetlink is not understood: everything is looked at");
                        return Ok(None);
                    }
                }
            }
        }
    }

    fn note(&mut self, payload: NetlinkPayload<RouteNetlinkMessage>, changes: &mut Changes) {
        let NetlinkPayload::InnerMessage(message) = payload else { return };
        match message {
            RouteNetlinkMessage::NewLink(message) => {
                let Some(link) = Link::new(&message) else { return };
                let old = self.links.get(&link.ifindex);
                if old.is_some_and(|old| old.up) && !link.up {
                    changes.down.insert(link.ifindex);
                }
                changes.devices |= old != Some(&link);
                self.links.insert(link.ifindex, link);
            }
            RouteNetlinkMessage::DelLink(message) => {
                let Some(link) = Link::new(&message) else { return };
                self.links.remove(&link.ifindex);
                // What has this number next is another device, also within this batch.
                for done in &mut self.done {
                    done.remove(&link.ifindex).inspect(|device| tracing::debug!(name = device.name, "gone"));
                }
                changes.down.insert(link.ifindex);
                changes.devices = true;
            }
            RouteNetlinkMessage::NewRoute(_) | RouteNetlinkMessage::DelRoute(_) => changes.routes = true,
            RouteNetlinkMessage::DelAddress(message) => {
                changes.routes = true;
                changes.gone.extend(address(&message).map(|addr| (message.header.index, addr)));
            }
            RouteNetlinkMessage::NewAddress(_) => changes.routes = true,
            _ => {}
        }
    }
}

/// The pins and the locks of a commit; none if there is nothing for this build to serve.
fn installed(home: &Home) -> Result<Option<(Installed, [DirLock; 2])>> {
    let doing = || format!("lock {}", home.display());
    let lock = |path: std::path::PathBuf, exclusive| match exclusive {
        true => DirLock::exclusive(&path),
        false => DirLock::shared(&path),
    };
    let found = |result: io::Result<DirLock>| match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    };
    let Some(all) = found(lock(home.all(), false)).doing(doing)? else { return Ok(None) };
    let Some(own) = found(lock(home.dir(), true)).doing(doing)? else { return Ok(None) };
    let installed = match Installed::open(home) {
        Err(EngineError::AbiMismatch { .. }) => None,
        installed => installed?,
    };
    Ok(installed.filter(Installed::is_current).map(|installed| (installed, [all, own])))
}

/// Brings the programs of every device that differs from `done` to what it should be.
fn apply(installed: &Installed, now: &[Device], done: &mut BTreeMap<u32, Device>) -> Result<()> {
    let changed: Vec<Device> = now.iter().filter(|device| done.get(&device.ifindex) != Some(device)).cloned().collect();
    let gone: Vec<u32> =
        done.keys().copied().filter(|ifindex| !now.iter().any(|device| device.ifindex == *ifindex)).collect();
    for ifindex in gone {
        attach::uncover(installed, ifindex)?;
        done.remove(&ifindex);
    }
    for device in changed.iter().filter(|device| device.place(installed.family).is_none()) {
        attach::uncover(installed, device.ifindex)?;
    }
    devices::name(&installed.map(maps::DEVS)?, &changed)?;
    for device in changed {
        match attach::cover(installed, std::slice::from_ref(&device)) {
            Ok(new) if new.is_empty() => {}
            Ok(_) => tracing::info!(device = device.name, ifindex = device.ifindex, "attached"),
            // The guard keeps it closed; others are not to wait for it.
            Err(error) => tracing::error!(device = device.name, %error, "not attached"),
        }
        done.insert(device.ifindex, device);
    }
    Ok(())
}

/// Sets again what rules need of `lo`: `ip_forward` and the like change it for all devices.
fn keep_settings(installed: &Installed) -> Result<()> {
    if guard::count(&installed.dir) == 0 {
        return Ok(());
    }
    sysctl::set_lo(installed.family, &installed.dir, false)
}

/// The address that netfilter compares.
fn address(message: &AddressMessage) -> Option<IpAddr> {
    let find = |wanted: fn(&AddressAttribute) -> Option<&IpAddr>| message.attributes.iter().find_map(wanted).copied();
    find(|attribute| match attribute {
        AddressAttribute::Address(addr) => Some(addr),
        _ => None,
    })
    .or_else(|| {
        find(|attribute| match attribute {
            AddressAttribute::Local(addr) => Some(addr),
            _ => None,
        })
    })
}
