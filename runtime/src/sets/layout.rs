//! Where things stand in the kernel's sets: read from the types of vmlinux and of the modules.

use super::types::{Member, Types};
use bpftables_abi::sets::{NO_8, NO_16, SetConf, SetType, TYPES};
use bpftables_ruleset::Family;
use std::fs;
use std::path::Path;
use zerocopy::FromZeros;

const FOLDER: &str = "/sys/kernel/btf";

const UNKNOWN: SetType = SetType {
    table: NO_16,
    initval: NO_16,
    bitmask: NO_16,
    markmask: NO_16,
    nets: NO_16,
    stride: 0,
    cidr_at: 0,
    nlen: 0,
    members: NO_16,
    first: NO_16,
    last: NO_16,
    hosts: NO_16,
    netmask: NO_16,
    ext: NO_16,
    known: 0,
    words: 0,
    ip: NO_8,
    ip2: NO_8,
    port: NO_8,
    proto: NO_8,
    cidr: NO_8,
    cidr2: NO_8,
    nomatch: NO_8,
    packed: 0,
    mac: NO_8,
    mark: NO_8,
    iface: NO_8,
    wildcard: NO_8,
    elem: NO_8,
    filled: NO_8,
};

/// Words of the longest element that the programs hash.
const MAX_WORDS: u32 = 12;

/// What this kernel has, as far as its modules are loaded; none: it has no sets.
pub(super) fn read(family: Family) -> Option<SetConf> {
    let vmlinux = fs::read(Path::new(FOLDER).join("vmlinux")).ok()?;
    let kernel = Types::read(&vmlinux, None)?;
    let modules: Vec<Vec<u8>> = module_files().iter().filter_map(|path| fs::read(path).ok()).collect();
    let modules: Vec<Types<'_>> = modules.iter().filter_map(|data| Types::read(data, Some(&kernel))).collect();
    let all: Vec<&Types<'_>> = modules.iter().chain([&kernel]).collect();
    let mut conf = all.iter().find_map(|types| common(types))?;
    // Not there as long as no hash type is.
    let _ = all.iter().find_map(|types| tables(&mut conf, types));
    if let Some(found) = all.iter().find_map(|types| prefixes(types)) {
        [conf.prefixes_seq, conf.prefixes_len, conf.prefixes_list] = found;
    }
    conf.types = [UNKNOWN; 16];
    for (known, (name, prefix)) in conf.types.iter_mut().zip(TYPES) {
        if let Some(found) = all.iter().find_map(|types| of_type(types, name, prefix, family)) {
            *known = SetType { known: 1, ..found };
        }
    }
    if let Some((members, list, id)) = all.iter().find_map(|types| list(types)) {
        (conf.list_members, conf.elem_list, conf.elem_id) = (members, list, id);
    }
    Some(conf)
}

/// The types of the modules of ipset that are loaded.
fn module_files() -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(FOLDER).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries.filter(|e| e.file_name().to_string_lossy().starts_with("ip_set")).collect();
    files.sort_by_key(fs::DirEntry::file_name);
    files.into_iter().map(|entry| entry.path()).collect()
}

fn offset(types: &Types<'_>, structure: &str, member: &str) -> Option<u16> {
    types.member(types.structure(structure)?, member)?.byte().try_into().ok()
}

fn common(types: &Types<'_>) -> Option<SetConf> {
    let at = |structure, member| offset(types, structure, member);
    let mut conf = SetConf::new_zeroed();
    conf.net_list = at("ip_set_net", "ip_set_list")?;
    conf.net_max = at("ip_set_net", "ip_set_max")?;
    conf.name = at("ip_set", "name")?;
    conf.type_ = at("ip_set", "type")?;
    conf.family = at("ip_set", "family")?;
    conf.extensions = at("ip_set", "extensions")?;
    conf.dsize = at("ip_set", "dsize")?;
    conf.offsets = at("ip_set", "offset")?;
    conf.timeout = at("ip_set", "timeout")?;
    conf.skbmark = at("ip_set_skbinfo", "skbmark")?;
    conf.skbmarkmask = at("ip_set_skbinfo", "skbmarkmask")?;
    conf.skbprio = at("ip_set_skbinfo", "skbprio")?;
    conf.data = at("ip_set", "data")?;
    conf.type_name = at("ip_set_type", "name")?;
    conf.type_dimension = at("ip_set_type", "dimension")?;
    conf.type_features = at("ip_set_type", "features")?;
    conf.bytes = at("ip_set_counter", "bytes")?;
    conf.packets = at("ip_set_counter", "packets")?;
    Some(conf)
}

fn list(types: &Types<'_>) -> Option<(u16, u16, u16)> {
    Some((offset(types, "list_set", "members")?, offset(types, "set_elem", "list")?, offset(types, "set_elem", "id")?))
}

fn of_type(types: &Types<'_>, name: &str, prefix: &str, family: Family) -> Option<SetType> {
    if name.starts_with("bitmap") { bitmap(types, name, prefix, family) } else { hash(types, prefix, family) }
}

fn bitmap(types: &Types<'_>, name: &str, prefix: &str, family: Family) -> Option<SetType> {
    let at = |member| offset(types, prefix, member);
    let mut found = SetType { members: at("members")?, ext: at("extensions")?, ..UNKNOWN };
    if name == "bitmap:port" {
        (found.first, found.last) = (at("first_port")?, at("last_port")?);
        return Some(found);
    }
    if family == Family::V6 {
        return None;
    }
    (found.first, found.last) = (at("first_ip")?, at("last_ip")?);
    if name == "bitmap:ip" {
        (found.hosts, found.netmask) = (at("hosts")?, at("netmask")?);
    } else {
        let of = |member| u8::try_from(offset(types, "bitmap_ipmac_elem", member)?).ok();
        (found.mac, found.filled) = (of("ether")?, of("filled")?);
    }
    Some(found)
}

fn hash(types: &Types<'_>, prefix: &str, family: Family) -> Option<SetType> {
    // Link addresses alone are of no family.
    let (digit, address) = match family {
        Family::V6 if prefix != "hash_mac" => (6, 16),
        _ => (4, 4),
    };
    let name = format!("{prefix}{digit}");
    let at = |member| offset(types, &name, member);
    let mut found = SetType { table: at("table")?, initval: at("initval")?, ..UNKNOWN };
    found.bitmask = at("bitmask").unwrap_or(NO_16);
    found.markmask = at("markmask").unwrap_or(NO_16);

    let elem = types.structure(&format!("{name}_elem"))?;
    // Where a name follows, what is hashed ends with the byte `elem`.
    let bytes = types.member(elem, "elem").map_or_else(|| types.size(elem), |last| Some(last.byte() + 1))?;
    (bytes.is_multiple_of(4) && bytes / 4 <= MAX_WORDS).then_some(())?;
    found.words = (bytes / 4) as u8;
    let member = |name| types.member(elem, name);
    let byte = |member: Option<Member>| member.and_then(|m| u8::try_from(m.byte()).ok()).unwrap_or(NO_8);
    found.ip = byte(member("ip"));
    found.ip2 = byte(member("ip2"));
    if let Some(ip) = member("ip").filter(|ip| types.member_size(*ip) == Some(2 * address)) {
        found.ip2 = u8::try_from(ip.byte() + address).ok()?;
    }
    found.port = byte(member("port"));
    found.proto = byte(member("proto"));
    found.mac = byte(member("ether"));
    found.mark = byte(member("mark"));
    found.iface = byte(member("iface"));
    found.wildcard = byte(member("wildcard"));
    found.elem = byte(member("elem"));
    found.nomatch = byte(member("nomatch"));
    if let Some(cidr) = member("cidr") {
        found.cidr = byte(Some(cidr));
        found.packed = u8::from(found.nomatch == found.cidr);
        if types.member_size(cidr) == Some(2) {
            found.cidr2 = found.cidr + 1;
        }
        nets(types, &name, &mut found)?;
    }
    Some(found)
}

/// The prefixes that a set has: how many of each length, and the lengths that there are.
fn nets(types: &Types<'_>, name: &str, found: &mut SetType) -> Option<()> {
    let set = types.structure(name)?;
    if let Some(pointers) = types.member(set, "rnets") {
        let (_, sides) = types.elements(pointers)?;
        (sides == if found.cidr2 == NO_8 { 1 } else { 2 }).then_some(())?;
        prefixes(types)?;
        found.nets = pointers.byte().try_into().ok()?;
        return Some(());
    }
    let nets = types.member(set, "nets")?;
    let (element, count) = types.elements(nets)?;
    found.nets = nets.byte().try_into().ok()?;
    found.stride = types.size(element)?.try_into().ok()?;
    found.cidr_at = types.member(element, "cidr")?.byte().try_into().ok()?;
    found.nlen = count.try_into().ok()?;
    Some(())
}

/// Where Linux 7.2 has prefixes: offsets of the number that tells of changes, of how many there are, and of the first.
fn prefixes(types: &Types<'_>) -> Option<[u16; 3]> {
    let prefix = types.structure("net_prefix")?;
    let [length, count] = ["cidr", "count"].map(|name| types.member(prefix, name));
    let as_expected = (types.size(prefix)?, length?.bit, count?.bit) == (4, 0, 8);
    let at = |member| offset(types, "net_prefixes", member);
    as_expected.then_some([at("seq")?, at("len")?, at("nets")?])
}

/// Fills in what stands in the tables of hash types, where any is known.
fn tables(conf: &mut SetConf, types: &Types<'_>) -> Option<()> {
    let at = |structure, member| offset(types, structure, member);
    let found = [
        at("htable", "htable_bits")?,
        at("htable", "bucket")?,
        at("hbucket", "used")?,
        at("hbucket", "pos")?,
        at("hbucket", "value")?,
    ];
    [conf.bits, conf.buckets, conf.used, conf.pos, conf.value] = found;
    Some(())
}
