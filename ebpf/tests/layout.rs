//! The C mirror of the abi is held to it: sizes, member names and offsets out of the object's BTF.

use bpftables_abi::{conn, event, image, maps, ops, sets};
use bpftables_ebpf::{OBJECT4, OBJECT6, Object};
use std::collections::BTreeMap;
use std::mem::offset_of;

/// A struct of the object: its size and its members' byte offsets, in order.
#[derive(Debug, PartialEq, Eq)]
struct Layout {
    size: usize,
    members: Vec<(String, usize)>,
}

macro_rules! layouts {
    ($($c:literal = $rust:path { $($field:ident),+ $(,)? })+) => {
        vec![$((
            $c,
            Layout { size: size_of::<$rust>(), members: vec![$((stringify!($field).to_owned(), offset_of!($rust, $field))),+] },
        )),+]
    };
}

/// What differs by family, and what IPv6 alone has.
fn expected_of(object: &Object) -> Vec<(&'static str, Layout)> {
    if object.hash == OBJECT4.hash {
        return layouts! {
            "bt_recent_params" = ops::RecentParams { seconds, hitcount, mask, op, dest, ttl, reap }
            "bt_nat_params" = ops::NatParams { flags, min, max, port_lo, port_hi, base, pad }
            "bt_addr_key" = maps::AddrKey { len, addr }
            "bt_tuple" = conn::Tuple { saddr, daddr, sport, dport, proto, kind, zone }
            "bt_conn" = conn::Conn {
                orig, reply, status, mark, expires, side, tcp_state, last_dir, retrans, last_index, last_seq, last_ack,
                last_end, last_win, last_flags, last_wscale, masq_ifindex, dnat_slot, lock, stream_ts, born, reserved,
            }
        };
    }
    layouts! {
        "bt_recent_params" = ops::RecentParams6 { seconds, hitcount, mask, op, dest, ttl, reap }
        "bt_nat_params" = ops::NatParams6 { flags, min, max, port_lo, port_hi, base, pad }
        "bt_addr_key" = maps::AddrKey6 { len, addr }
        "bt_tuple" = conn::Tuple6 { saddr, daddr, sport, dport, proto, kind, zone }
        "bt_conn" = conn::Conn6 {
            orig, reply, status, mark, expires, side, tcp_state, last_dir, retrans, last_index, last_seq, last_ack,
            last_end, last_win, last_flags, last_wscale, masq_ifindex, dnat_slot, lock, stream_ts, born, reserved,
        }
        "bt_key6" = image::Key6 { hi, lo }
        "bt_bucket6" = image::Bucket6 { keys, values, lens, pad }
        "bt_addrs6" = image::Addrs6 { saddr, smask, daddr, dmask }
        "bt_npt_params" = ops::NptParams { from, from_mask, to, mask, bits, adjust }
    }
}

fn expected(object: &Object) -> Vec<(&'static str, Layout)> {
    let mut all = layouts! {
        "bt_header" = image::Header {
            magic, abi, generation, family, lines, flags, blob_line, blob_len, iface_table, iface_mask, iface_seed,
            iface_lens, iface_classes, present, blob_crc,
        }
        "bt_chain" = image::Chain {
            rules, nrules, kind, policy, nfields, pad, policy_slot, hash_table, hash_mask, hash_seed, residual, fields,
            next, name, reserved,
        }
        "bt_field" = image::Field { what, kind, pad, table, lens, mask, seed, dflt, absent }
        "bt_bucket" = image::Bucket { keys, values, pad }
        "bt_rule" = image::Rule {
            flags, saddr, smask, daddr, dmask, iif_lo, iif_hi, oif_lo, oif_hi, sport_lo, sport_hi, dport_lo, dport_hi,
            proto, l4, l4_a, l4_b, target, nops, pad, ops, arg, slot, number, bare,
        }
        "bt_op" = ops::Op { op, flags, a, b, c, d }
        "bt_control" = maps::Control {
            slot4, slot6, lo_ifindex, max_conns, magic, seed, timeouts, tcp_loose, tcp_be_liberal, tcp_max_retrans,
            tcp_ignore_invalid_rst, checksum, local_ports, netns, tai_offset, minutes_west, programs, guard,
            host_routing, tuple_mask, reserved,
        }
        "bt_tuple_line" = conn::TupleLine { head, ways }
        "bt_time_params" = ops::TimeParams {
            date_start, date_stop, day_start, day_stop, month_days, week_days, kernel_zone, contiguous, pad,
        }
        "bt_hashlimit_table" = ops::HashlimitTable { rate, smask, dmask, born, swept, expire, gc, mode, pad }
        "bt_hmark_params" = ops::HmarkParams {
            smask, dmask, port_mask, port_set, rnd, modulus, offset, proto_mask, conntrack,
        }
        "bt_rateest" = maps::Rateest { lock, log, ewma, pad, next, bytes, packets, came_bytes, came_packets }
        "bt_tproxy_params" = ops::TproxyParams { addr, mark, mask, port, pad }
        "bt_tee_params" = ops::TeeParams { gateway, oif }
        "bt_set_params" = ops::SetParams { name, packets, bytes, packets_op, bytes_op, dim, sides, flags, pad }
        "bt_set_type" = sets::SetType {
            table, initval, bitmask, markmask, nets, stride, cidr_at, nlen, members, first, last, hosts, netmask, ext,
            known, words, ip, ip2, port, proto, cidr, cidr2, nomatch, packed, mac, mark, iface, wildcard, elem, filled,
        }
        "bt_set_conf" = sets::SetConf {
            net_id, net_list, net_max, name, type_, family, extensions, dsize, offsets, data, type_name,
            type_dimension, type_features, bits, buckets, used, pos, value, bytes, packets, list_members, elem_list,
            elem_id, prefixes_seq, prefixes_len, prefixes_list, timeout, skbmark,
            skbmarkmask, skbprio, pad, types,
        }
        "bt_set_probe" = sets::SetProbe {
            net_id, index, member, found, name, type_, extensions, family, dimension, pad, guard, set,
        }
        "bt_set_target" = ops::SetTarget { add, add_state, del, del_state, map, map_state, flags, timeout }
        "bt_set_head" = sets::SetHead { heap, some, pad }
        "bt_set_key" = sets::SetKey { set, guard, heap, elem }
        "bt_set_change" = sets::SetChange { at, expires, what, has, family, proto, mark, ip, ip2, port, mac, cidr, pad }
        "bt_acct" = conn::Acct { packets, bytes }
        "bt_icmp_conf" = maps::IcmpConf { known, ratelimit_ms, ratemask, msgs_per_sec, msgs_burst, ttl }
        "bt_counter" = maps::Counter { packets, bytes }
        "bt_addr_info" = maps::AddrInfo { kind, ifindex }
        "bt_dev_info" = maps::DevInfo { name, class, l2len, group }
        "bt_log_params" = event::LogParams { level, flags, prefix }
        "bt_event_head" = event::EventHead {
            time, kind, hook, owned, mac_len, ifin, ifout, mark, uid, gid, len, captured, mac,
        }
        "bt_event" = event::Event { head, number, table, what, pad, params, packet }
        "bt_nflog_params" = event::NflogParams { size, group, sized, pad }
        "bt_nflog_event" = event::NflogEvent { head, size, group, hw_type, hw_len, sized, pad, stamp, prefix }
        "bt_chain_name" = image::ChainName { name, rules, reserved }
        "bt_survey" = maps::Survey { link, kind, inode, references, cookie }
        "bt_tcp_side" = conn::TcpSide { end, maxend, maxwin, maxack, scale, flags, pad }
    };
    all.extend(expected_of(object));
    all
}

fn u16_at(data: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes(data[at..at + 2].try_into().unwrap()))
}

fn u32_at(data: &[u8], at: usize) -> usize {
    u32::from_le_bytes(data[at..at + 4].try_into().unwrap()) as usize
}

fn u64_at(data: &[u8], at: usize) -> usize {
    usize::try_from(u64::from_le_bytes(data[at..at + 8].try_into().unwrap())).unwrap()
}

fn text(data: &[u8], at: usize) -> &str {
    let end = data[at..].iter().position(|b| *b == 0).unwrap();
    std::str::from_utf8(&data[at..at + end]).unwrap()
}

/// A section of a 64-bit little-endian ELF file.
fn section<'a>(elf: &'a [u8], name: &str) -> &'a [u8] {
    let (table, entry, count, names) = (u64_at(elf, 40), u16_at(elf, 58), u16_at(elf, 60), u16_at(elf, 62));
    let header = |index: usize| &elf[table + index * entry..][..entry];
    let content = |h: &[u8]| &elf[u64_at(h, 24)..][..u64_at(h, 32)];
    let strings = content(header(names));
    let found = (0..count).map(header).find(|h| text(strings, u32_at(h, 0)) == name);
    content(found.unwrap_or_else(|| panic!("the object has no section {name}")))
}

/// All named structs of the object's BTF.
fn structs(btf: &[u8]) -> BTreeMap<String, Layout> {
    assert_eq!(u16_at(btf, 0), 0xeb9f, "BTF magic");
    let header = u32_at(btf, 4);
    let types = &btf[header + u32_at(btf, 8)..][..u32_at(btf, 12)];
    let strings = &btf[header + u32_at(btf, 16)..][..u32_at(btf, 20)];
    let mut found = BTreeMap::new();
    let mut at = 0;
    while at < types.len() {
        let (name, info, size) = (u32_at(types, at), u32_at(types, at + 4), u32_at(types, at + 8));
        let (kind, vlen, bitfields) = (info >> 24 & 0x1f, info & 0xffff, info >> 31 == 1);
        at += 12;
        if kind == 4 && name != 0 {
            let members = (0..vlen).map(|i| {
                let member = at + i * 12;
                let offset = u32_at(types, member + 8);
                let bits = if bitfields { offset & 0x00ff_ffff } else { offset };
                (text(strings, u32_at(types, member)).to_owned(), bits / 8)
            });
            found.insert(text(strings, name).to_owned(), Layout { size, members: members.collect() });
        }
        at += match kind {
            // int, var, decl_tag
            1 | 14 | 17 => 4,
            // array, struct, union, datasec, enum64
            3 => 12,
            4 | 5 | 15 | 19 => 12 * vlen,
            // enum, func_proto
            6 | 13 => 8 * vlen,
            2 | 7..=12 | 16 | 18 => 0,
            other => panic!("unknown BTF kind {other} at {at}"),
        };
    }
    found
}

#[test]
fn every_struct_of_the_c_header_has_the_size_and_offsets_of_the_abi() {
    for object in [&OBJECT4, &OBJECT6] {
        let found = structs(section(object.layouts, ".BTF"));
        for (name, layout) in expected(object) {
            let real = found.get(name).unwrap_or_else(|| panic!("abi.h has no struct {name}"));
            assert_eq!(real, &layout, "struct {name}: left is C, right is the abi");
        }
    }
}

#[test]
fn every_struct_that_the_programs_name_has_the_size_and_offsets_of_the_abi() {
    for object in [&OBJECT4, &OBJECT6] {
        let found = structs(section(object.bytes, ".BTF"));
        let named: Vec<_> = expected(object).into_iter().filter(|(name, _)| found.contains_key(*name)).collect();
        // What maps hold is always named.
        for name in
            ["bt_control", "bt_icmp_conf", "bt_addr_key", "bt_addr_info", "bt_tuple", "bt_conn", "bt_nat_params"]
        {
            assert!(named.iter().any(|(n, _)| *n == name), "the object's BTF has no struct {name}");
        }
        for (name, layout) in named {
            assert_eq!(found.get(name), Some(&layout), "struct {name}: left is C, right is the abi");
        }
    }
}

/// Programs let every packet pass by an image of another version.
#[test]
fn the_version_in_c_is_the_abis() {
    let text = include_str!("../c/abi.h");
    let version = text.lines().find_map(|line| line.strip_prefix("#define BT_ABI_VERSION "));
    assert_eq!(version, Some(&*bpftables_abi::ABI_VERSION.to_string()));
}
