//! The values that rules and packets share.

use proptest::prelude::*;
use proptest::sample::select;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// Addresses of packets; rules name them and networks around them.
pub const ADDRS: [Ipv4Addr; 10] = [
    Ipv4Addr::new(10, 0, 0, 1),
    Ipv4Addr::new(10, 0, 0, 2),
    Ipv4Addr::new(10, 0, 1, 1),
    Ipv4Addr::new(10, 1, 0, 1),
    Ipv4Addr::new(172, 16, 0, 9),
    Ipv4Addr::new(192, 168, 1, 1),
    Ipv4Addr::new(192, 168, 1, 200),
    Ipv4Addr::new(8, 8, 8, 8),
    Ipv4Addr::new(127, 0, 0, 1),
    Ipv4Addr::new(255, 255, 255, 255),
];

/// Names of devices.
pub const DEVICES: [&str; 6] = ["eth0", "eth1", "eth10", "lo", "wlan0", "e"];

/// RTN_* types of some of [`ADDRS`] and their devices, for the environment.
#[must_use]
pub fn addr_types() -> BTreeMap<IpAddr, (u8, Box<str>)> {
    let known = [(ADDRS[0], 2, "eth0"), (ADDRS[8], 2, "lo"), (ADDRS[6], 3, "eth1")];
    known.into_iter().map(|(addr, kind, device)| (addr.into(), (kind, device.into()))).collect()
}

pub(super) fn addr() -> impl Strategy<Value = Ipv4Addr> {
    select(&ADDRS[..])
}

pub(super) fn port() -> impl Strategy<Value = u16> {
    select(&[0u16, 1, 22, 53, 80, 81, 255, 256, 443, 8080, 30000, 65535][..])
}

pub(super) fn mark() -> impl Strategy<Value = u32> {
    select(&[0u32, 1, 2, 3, 0x4000, 0x8000, 0xffff_ffff][..])
}
