//! What rule records say beyond the header: residual checks and targets.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One residual check, 16 bytes, four in a line, evaluated in order after the record's own checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Op {
    /// [`op`].
    pub op: u8,
    /// [`INVERT`] and others by op.
    pub flags: u8,
    /// By op.
    pub a: u16,
    /// By op.
    pub b: u32,
    /// By op.
    pub c: u32,
    /// By op.
    pub d: u32,
}

/// Most ops in a rule; the compiler refuses more (`Limit`).
pub const MAX_OPS: usize = 32;
/// [`Op::flags`]: the check is inverted.
pub const INVERT: u8 = 1;
/// [`Op::flags`] of TCP and UDP: `! --sport`.
pub const INVERT_SPORT: u8 = 2;
/// `! --dport`.
pub const INVERT_DPORT: u8 = 4;
/// `! --tcp-flags`.
pub const INVERT_TCP_FLAGS: u8 = 8;
/// `! --tcp-option`.
pub const INVERT_TCP_OPTION: u8 = 16;
/// [`Op::flags`] of ADDRTYPE.
pub const ADDRTYPE_INVERT_SRC: u8 = 2;
/// `! --dst-type`.
pub const ADDRTYPE_INVERT_DST: u8 = 4;
/// `--limit-iface-in`.
pub const ADDRTYPE_LIMIT_IN: u8 = 8;
/// `--limit-iface-out`.
pub const ADDRTYPE_LIMIT_OUT: u8 = 16;

/// The checks.
pub mod op {
    /// `-m tcp` out of the record: b = sport lo | hi << 16, c = dport likewise, d = flags mask | cmp << 8 | option << 16. Hotdrops truncated headers.
    /// With a = 1 only the option is checked (ports and flags stand in the record).
    pub const TCP: u8 = 1;
    /// `-m udp`: b, c as TCP.
    pub const UDP: u8 = 2;
    /// `-m icmp`: b = type | code_lo << 8 | code_hi << 16.
    pub const ICMP: u8 = 3;
    /// `-m multiport`: a = count (1 to 15), b = side (0 source, 1 destination, 2 either), c = line of words lo | hi << 16.
    pub const MULTIPORT: u8 = 4;
    /// `-m mark`: (mark & c) == b.
    pub const MARK: u8 = 5;
    /// `-m connmark`: (ctmark & c) == b; no connection: no match, inverted or not.
    pub const CONNMARK: u8 = 6;
    /// `-m state`: a = `CtStates` bits (no SNAT, DNAT).
    pub const STATE: u8 = 7;
    /// `-m conntrack` begins: a = `CtStates` bits, b = 1 if --ctstate was given, c = number of ops that follow and belong to this match.
    /// The state is checked first; a packet without a connection then skips the c ops if b is 1, else fails.
    pub const CT: u8 = 8;
    /// `--ctproto`: b.
    pub const CT_PROTO: u8 = 9;
    /// a = 0 orig src, 1 orig dst, 2 reply src, 3 reply dst; b address, c mask (network byte order). IPv6: b = line of address
    /// and mask, 16 bytes each.
    pub const CT_ADDR: u8 = 10;
    /// a as CT_ADDR; b = lo | hi << 16, host order.
    pub const CT_PORT: u8 = 11;
    /// `--ctstatus`: a = bits, 0 is NONE.
    pub const CT_STATUS: u8 = 12;
    /// `--ctexpire`: b to c seconds, inclusive.
    pub const CT_EXPIRES: u8 = 13;
    /// `--ctdir`: b = 1 ORIGINAL, 0 REPLY.
    pub const CT_DIR: u8 = 14;
    /// `-m addrtype`: a = source types, b = destination types, as bits 1 << RTN_*; 0: not asked.
    pub const ADDRTYPE: u8 = 15;
    /// `-m statistic --mode random`: (random & 0x7fffffff) < b.
    pub const RANDOM: u8 = 16;
    /// `--mode nth`: b = line of the state (word 0: packets counted modulo c, from 0), c = every as given, d = packet: true if the count before was d.
    pub const NTH: u8 = 17;
    /// `-m limit`: b = line of the state ([`super::LimitState`]), c = average, d = burst as given on the command line.
    pub const LIMIT: u8 = 18;
    /// `-m recent`: a = time stamps kept per address - 1 (the same in all rules of a list; 0: 256), b = list id, c = line of [`super::RecentParams`].
    pub const RECENT: u8 = 19;

    /// `-m mac`: b = the first four bytes as they lie in memory, c = the other two. A device without link addresses: no match, inverted or not.
    pub const MAC: u8 = 32;
    /// `-m owner`: a = what is asked (1 UID, 2 GID, 4 socket, 8 `--suppl-groups`), the same inverted << 8, b = line of words UID from, to, GID from, to.
    pub const OWNER: u8 = 33;
    /// `-m pkttype`: b = `PACKET_*`.
    pub const PKTTYPE: u8 = 34;
    /// `-m length`: b = lo | hi << 16, bytes from the network header on.
    pub const LENGTH: u8 = 35;
    /// `-m ttl` and `-m hl`: a = 0 equal, 1 not equal, 2 less, 3 greater; b = value.
    pub const TTL: u8 = 36;
    /// `-m tos` and `-m dscp`: (tos & c) == b.
    pub const TOS: u8 = 37;
    /// `-m ecn`: b = what is asked (1 ECE, 2 CWR, 4 ECT) | the ECT bits << 4, c = what is inverted.
    pub const ECN: u8 = 38;
    /// `-m iprange`: a = 1 source, 2 not that, 4 destination, 8 not that; b = line of first and last source and destination, network byte order.
    pub const IPRANGE: u8 = 39;
    /// `-m policy`: a = 0 `--pol none`, b = 0 `--dir in`, 1 `--dir out`; a = 1 `--dir in --pol ipsec`, b = line of reqid, SPI (as legacy compares it: the number in this machine's byte order with the packet's in network byte order),
    /// protocol | 1 << 8 for a tunnel, what is asked (`POLICY_*`) | << 8 what of it is inverted, 1 for `--strict`; c = line of the tunnel's source and
    /// destination, each with its mask, network byte order (0: neither is asked).
    pub const POLICY: u8 = 40;
    /// `--reqid`, as the others of [`POLICY`].
    pub const POLICY_REQID: u16 = 1;
    /// `--spi`.
    pub const POLICY_SPI: u16 = 2;
    /// `--proto`.
    pub const POLICY_PROTO: u16 = 4;
    /// `--mode`.
    pub const POLICY_MODE: u16 = 8;
    /// `--tunnel-src`.
    pub const POLICY_SOURCE: u16 = 16;
    /// `--tunnel-dst`.
    pub const POLICY_DESTINATION: u16 = 32;
    /// `-m sctp`: a = 0 no chunks are asked, 1 any, 2 all, 3 only; b, c as TCP; d = line of eight words of chunk types, bit by bit, the number
    /// of flags (up to 4), and for each flags type | set << 8 | mask << 16. [`super::INVERT`] is of the chunks.
    pub const SCTP: u8 = 41;
    /// `-m dccp`: a = types, bit by bit; b, c as TCP; d = option | 1 << 8 types are asked | 1 << 9 an option is asked. [`super::INVERT`] is
    /// of the types, [`super::INVERT_TCP_OPTION`] of the option.
    pub const DCCP: u8 = 42;
    /// `-m esp`, IPv4's `-m ah`, `-m ipcomp`: a = 0, 1, 2; b, c = lowest and highest identifier.
    pub const SPI: u8 = 43;
    /// `-m tcpmss`: b = lo | hi << 16.
    pub const TCPMSS: u8 = 44;
    /// IPv6's `-m ah`: b, c = lowest and highest SPI, d = length (0: any) | 1 << 16 not that length | 1 << 17 `--ahres`. [`super::INVERT`] is of the SPI.
    pub const AH6: u8 = 45;
    /// `-m ipv6header`: a = 1 `--soft`, b = headers as bits, as netfilter numbers them.
    pub const IPV6HEADER: u8 = 46;
    /// `-m frag`: a = 1 `--fragres`, 2 `--fragfirst`, 4 `--fragmore`, 8 `--fraglast`; b, c = lowest and highest identifier.
    pub const FRAG: u8 = 47;
    /// `-m rt`: b = line of flags (1 the type is asked, 2 not that type, 4 not these segments, 8 the length is asked, 16 not that length, 32
    /// nothing reserved may be set, 64 addresses are asked, 128 among others), type, lowest and highest segments left, length, and
    /// the number of addresses, which stand four by four in the lines behind it.
    pub const RT: u8 = 48;
    /// `-m hbh`, `-m dst`: a = the header's number, b = line of options, each type << 8 | length (255: any); c = length of the header,
    /// d = number of options | 1 << 8 options are asked | 1 << 9 the length is asked. [`super::INVERT`] is of the length.
    pub const OPTS: u8 = 49;
    /// `-m mh`: b = lo | hi << 16.
    pub const MH: u8 = 50;
    /// `-m srh`: b = line of what is asked and what is inverted (bits as netfilter's `IP6T_SRH_*`), next header | length << 8 |
    /// segments left << 16 | last entry << 24, and the tag; in the lines behind it the previous, the next and the last segment, each with its mask.
    pub const SRH: u8 = 51;
    /// `-m eui64`.
    pub const EUI64: u8 = 52;
    /// `-m devgroup`: a = 1 the way in is asked, 2 not that, 4 the way out, 8 not that; b = line of group and mask of the way in and of the way out.
    pub const DEVGROUP: u8 = 53;
    /// `-m realm`: (realm & c) == b.
    pub const REALM: u8 = 54;
    /// `-m rpfilter`: a = 1 `--loose`, 2 `--validmark`, 4 `--accept-local`.
    pub const RPFILTER: u8 = 55;
    /// `-m cgroup --cgroup`: b = class id of the socket.
    pub const CGROUP: u8 = 56;
    /// `-m string`: b = line of length, 1 to ignore case (the pattern is upper case then), from, to; behind it two lines of the pattern and two of
    /// Knuth, Morris and Pratt's table, a byte each.
    pub const STRING: u8 = 57;
    /// `-m bpf --bytecode`: a = number of instructions, b = line of the first; eight stand in a line, as `struct sock_filter`.
    pub const BPF: u8 = 58;
    /// `-m u32`: a = number of steps, b = line of the first; steps stand as ops do, with codes of [`super::u32_step`].
    pub const U32: u8 = 64;
    /// `-m time`: b = line of [`super::TimeParams`].
    pub const TIME: u8 = 65;
    /// `-m cpu`: b = its number.
    pub const CPU: u8 = 66;
    /// `-m quota`: b = line of the state (bytes 0 to 7: what is used up), c and d = the low and the high half of the quota.
    pub const QUOTA: u8 = 80;
    /// `-m cluster`: a = nodes, b = mask of the local ones, c = seed of the hash over the connection's first source.
    pub const CLUSTER: u8 = 81;
    /// `-m hashlimit`: a = [`super::HashlimitTable::mode`] of the rule, b = number of the table.
    pub const HASHLIMIT: u8 = 82;
    /// `-m connbytes`: a = packets, bytes, average | original, reply, both << 8, b = line of two bounds, 64 bits each; the second below the
    /// first: what is outside of them.
    pub const CONNBYTES: u8 = 83;
    /// `-m connlabel`: a = the label, b = 1: it is set by the check.
    pub const CONNLABEL: u8 = 84;
    /// `-m helper`: holds if it is inverted.
    pub const HELPER: u8 = 85;
    /// `-m connlimit`, inverted: upto. b = line of the state (word 0: a number for the rule, 0 at first), c = the limit, d = line of the mask,
    /// network byte order; flag [`super::LIMIT_DESTINATION`].
    pub const CONNLIMIT: u8 = 86;
    /// `-m physdev`: a = 1 in, 2 out, 4 is-bridged, 8 is-in, 16 is-out, and what of it is inverted << 8; b, c = lo | hi << 16 of the classes
    /// of the names of the ports.
    pub const PHYSDEV: u8 = 87;
    /// `-m set`: b = line of [`super::SetParams`], c = line of the state (word 0: where the set was last among the kernel's, from 1; 0: not known).
    pub const SET: u8 = 90;
    /// `-m rateest`: a = `RATEEST_*` bits | comparison << 8, b, c = numbers of the estimators, d = line of the bytes of both sides and
    /// the packets of both sides.
    pub const RATEEST: u8 = 96;
    /// `-m cgroup --path`: b, c = the low and the high half of the group's number.
    pub const CGROUP_PATH: u8 = 98;
    /// `-m socket`: a = 1 `--transparent`, 2 `--nowildcard`, 4 `--restore-skmark`.
    pub const SOCKET: u8 = 97;
}

/// State of a limit rule in the image: written by programs, zero in a new image (programs begin a zero state with a full burst).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LimitState {
    /// One word that programs compare-and-swap: credit in the low half, time (1/10000 s, wrapping) in the high half; 0: not begun.
    pub packed: u64,
}

/// Parameters of `-m recent`, in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RecentParams {
    /// `--seconds`.
    pub seconds: u32,
    /// `--hitcount`.
    pub hitcount: u32,
    /// `--mask`, network byte order.
    pub mask: u32,
    /// 0 set, 1 rcheck, 2 update, 3 remove.
    pub op: u8,
    /// 1: `--rdest`.
    pub dest: u8,
    /// 1: `--rttl`.
    pub ttl: u8,
    /// 1: `--reap`.
    pub reap: u8,
}

/// Parameters of `-m recent` in an IPv6 image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RecentParams6 {
    /// See [`RecentParams`].
    pub seconds: u32,
    /// See [`RecentParams`].
    pub hitcount: u32,
    /// `--mask`, network byte order.
    pub mask: [u8; 16],
    /// See [`RecentParams`].
    pub op: u8,
    /// See [`RecentParams`].
    pub dest: u8,
    /// See [`RecentParams`].
    pub ttl: u8,
    /// See [`RecentParams`].
    pub reap: u8,
}

/// Most steps of one `-m u32`: ten tests of ten numbers and ten ranges.
pub const MAX_U32_STEPS: u32 = 200;

/// Steps of `-m u32`. There is a word that was loaded, and a base that offsets count from, 0 in the beginning.
pub mod u32_step {
    /// A test begins: base 0, then the word at b, in network byte order.
    pub const LOAD: u8 = 1;
    /// `&` b.
    pub const AND: u8 = 2;
    /// `<<` b.
    pub const LEFT: u8 = 3;
    /// `>>` b.
    pub const RIGHT: u8 = 4;
    /// `@`: the base grows by the word, then the word at base + b.
    pub const AT: u8 = 5;
    /// Is the word b to c? a = 1: the last of a test's ranges; the match fails if none held.
    pub const RANGE: u8 = 6;
}

/// Parameters of `-m time`, in a line: seconds since 1970 and since midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TimeParams {
    /// `--datestart`.
    pub date_start: u32,
    /// `--datestop`, inclusive.
    pub date_stop: u32,
    /// `--timestart`.
    pub day_start: u32,
    /// `--timestop`, inclusive.
    pub day_stop: u32,
    /// `--monthdays`: bit n is day n.
    pub month_days: u32,
    /// `--weekdays`: bits 1 (Monday) to 7.
    pub week_days: u8,
    /// 1: `--kerneltz`.
    pub kernel_zone: u8,
    /// 1: `--contiguous`.
    pub contiguous: u8,
    /// Zero.
    pub pad: u8,
}

/// The targets ([`crate::image::Rule::target`]).
pub mod target {
    /// No `-j`.
    pub const NONE: u8 = 0;
    /// ACCEPT.
    pub const ACCEPT: u8 = 1;
    /// DROP.
    pub const DROP: u8 = 2;
    /// RETURN.
    pub const RETURN: u8 = 3;
    /// arg = chain line.
    pub const JUMP: u8 = 4;
    /// arg = chain line.
    pub const GOTO: u8 = 5;
    /// arg = `enum ipt_reject_with` (0 net, 1 host, 2 proto, 3 port unreachable, 4 echo reply, 5 net prohibited, 6 host prohibited, 7 tcp reset, 8 admin prohibited);
    /// IPv6: `enum ip6t_reject_with` (0 no route, 1 prohibited, 2 not a neighbour, 3 address, 4 port unreachable, 6 tcp reset, 7 policy, 8 reject route).
    pub const REJECT: u8 = 6;
    /// arg = line, words value, mask.
    pub const MARK: u8 = 7;
    /// arg = line, words mode (0 set, 1 save, 2 restore), value or 0, nfmask, ctmask, shift (bits | 1 << 8 to the right). Set: value, ctmask.
    pub const CONNMARK: u8 = 8;
    /// arg = line of [`super::NatParams`].
    pub const DNAT: u8 = 9;
    /// arg = line of [`super::NatParams`].
    pub const SNAT: u8 = 10;
    /// arg = line of [`super::NatParams`] (no addresses).
    pub const MASQUERADE: u8 = 11;
    /// arg = line of [`super::NatParams`] (no addresses).
    pub const REDIRECT: u8 = 12;
    /// arg = line of [`super::NatParams`]: min = network address, max = mask.
    pub const NETMAP: u8 = 13;
    /// CT --notrack and NOTRACK.
    pub const NOTRACK: u8 = 14;
    /// CT without --notrack: arg = zone | [`super::track`] bits << 16.
    pub const CT: u8 = 48;
    /// arg = line of [`crate::event::LogParams`].
    pub const LOG: u8 = 15;
    /// TOS and DSCP: arg = value | mask << 8; TOS = (TOS & !mask) ^ value.
    pub const TOS: u8 = 24;
    /// TTL and HL: arg = 0 set, 1 increment, 2 decrement | value << 8.
    pub const TTL: u8 = 25;
    /// ECN: arg = bit 0: set ECE to bit 1; bit 2: set CWR to bit 3; bit 4: the ECT bits become bits 5 and 6.
    pub const ECN: u8 = 26;
    /// TCPMSS: arg = the MSS.
    pub const TCPMSS: u8 = 27;
    /// TCPOPTSTRIP: arg = line of 8 words, a bit for each kind.
    pub const TCPOPTSTRIP: u8 = 28;
    /// CLASSIFY: arg = the packet's priority.
    pub const CLASSIFY: u8 = 29;
    /// CHECKSUM --checksum-fill.
    pub const CHECKSUM: u8 = 32;
    /// SNPT, IPv6 alone: arg = line of [`super::NptParams`].
    pub const SNPT: u8 = 33;
    /// DNPT, IPv6 alone: arg = line of [`super::NptParams`].
    pub const DNPT: u8 = 34;
    /// arg = line of [`crate::event::NflogParams`], with its prefix in the next line.
    pub const NFLOG: u8 = 100;
    /// The packet is traced from here on.
    pub const TRACE: u8 = 101;
    /// arg = line of [`super::HmarkParams`].
    pub const HMARK: u8 = 111;
    /// arg = number of the estimator.
    pub const RATEEST: u8 = 112;
    /// arg = line of [`super::TproxyParams`].
    pub const TPROXY: u8 = 113;
    /// arg = line of [`super::TeeParams`].
    pub const TEE: u8 = 114;
    /// SET; the argument is a line of [`super::SetTarget`].
    pub const SET: u8 = 115;
}

/// How CT wants a packet tracked.
pub mod track {
    /// The zone is the original direction's.
    pub const ORIGINAL: u32 = 4;
    /// The zone is the reply direction's.
    pub const REPLY: u32 = 8;
    /// The zone is the packet's mark, when it is tracked.
    pub const MARK: u32 = 16;
}

/// [`HashlimitTable::mode`], beside `--hashlimit-mode` as the kernel numbers it: the rate is in bytes.
pub const HASHLIMIT_BYTES: u32 = 32;
/// `--hashlimit-rate-match`.
pub const HASHLIMIT_RATE_MATCH: u32 = 64;

/// A table of `-m hashlimit`. Times are in ticks of 4 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HashlimitTable {
    /// What a bucket begins with: credit, cap and cost; or of a rate that is matched the interval in seconds, 0, the rate and the burst.
    pub rate: [u64; 4],
    /// Mask of sources, network byte order; IPv4: the first word.
    pub smask: [u32; 4],
    /// Mask of destinations.
    pub dmask: [u32; 4],
    /// When it was made.
    pub born: u64,
    /// The collection that was done last, the programs' own.
    pub swept: u64,
    /// Ticks after which a bucket that nobody asks for is over.
    pub expire: u32,
    /// Ticks between two collections of buckets that are over.
    pub gc: u32,
    /// Bits of `--hashlimit-mode`, [`HASHLIMIT_BYTES`] and [`HASHLIMIT_RATE_MATCH`].
    pub mode: u32,
    /// Zero.
    pub pad: u32,
}

/// Bits of [`op::RATEEST`]: what a rate lacks to a given one is compared.
pub const RATEEST_DELTA: u16 = 1;
/// Bytes are compared.
pub const RATEEST_BYTES: u16 = 2;
/// Packets are compared.
pub const RATEEST_PACKETS: u16 = 4;
/// With another estimator, not with a given rate.
pub const RATEEST_OTHER: u16 = 8;
/// Its comparisons, beside 0, equal: less.
pub const RATEEST_LESS: u16 = 1;
/// Greater.
pub const RATEEST_GREATER: u16 = 2;

/// Parameters of `-m set`, in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetParams {
    /// The set's name, zero padded.
    pub name: [u8; 32],
    /// What an element's count of packets is compared with.
    pub packets: u64,
    /// What its count of bytes is compared with.
    pub bytes: u64,
    /// 0 not compared, 1 equal, 2 not equal, 3 less, 4 greater.
    pub packets_op: u8,
    /// Likewise.
    pub bytes_op: u8,
    /// How many sides are given.
    pub dim: u8,
    /// Bit n: of dimension n (from 0) the source's.
    pub sides: u8,
    /// [`SET_RETURN_NOMATCH`].
    pub flags: u8,
    /// Zero.
    pub pad: [u8; 3],
}

/// Parameters of SET, in a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetTarget {
    /// `--add-set`: line of [`SetParams`]; 0: not asked.
    pub add: u32,
    /// Line of the state, as of [`op::SET`].
    pub add_state: u32,
    /// `--del-set`, likewise.
    pub del: u32,
    /// Likewise.
    pub del_state: u32,
    /// `--map-set`, likewise.
    pub map: u32,
    /// Likewise.
    pub map_state: u32,
    /// [`SET_EXIST`], [`SET_TIMEOUT`], [`SET_MAP_MARK`], [`SET_MAP_PRIORITY`].
    pub flags: u32,
    /// `--timeout`, in seconds.
    pub timeout: u32,
}

/// [`SetTarget::flags`]: `--exist`.
pub const SET_EXIST: u32 = 4;
/// [`SetTarget::flags`]: `--map-mark`.
pub const SET_MAP_MARK: u32 = 16;
/// [`SetTarget::flags`]: `--map-prio`.
pub const SET_MAP_PRIORITY: u32 = 32;
/// [`SetTarget::flags`]: `--timeout` is given.
pub const SET_TIMEOUT: u32 = 8;

/// [`SetParams::flags`]: `--return-nomatch`.
pub const SET_RETURN_NOMATCH: u8 = 1;

/// Flag of [`op::CONNLIMIT`]: the destination's address.
pub const LIMIT_DESTINATION: u8 = 2;

/// Parameters of HMARK, in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HmarkParams {
    /// Mask of sources, network byte order; IPv4: the first word.
    pub smask: [u32; 4],
    /// Mask of destinations.
    pub dmask: [u32; 4],
    /// Bits of both ports, or of the SPI, that are hashed, network byte order.
    pub port_mask: u32,
    /// Bits that are set in them.
    pub port_set: u32,
    /// `--hmark-rnd`.
    pub rnd: u32,
    /// `--hmark-mod`.
    pub modulus: u32,
    /// `--hmark-offset`.
    pub offset: u32,
    /// `--hmark-proto-mask`.
    pub proto_mask: u16,
    /// 1: `--hmark-tuple ct`.
    pub conntrack: u16,
}

/// Parameters of TPROXY, in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TproxyParams {
    /// `--on-ip`, network byte order; IPv4: the first word.
    pub addr: [u32; 4],
    /// The value of `--tproxy-mark`.
    pub mark: u32,
    /// Its mask.
    pub mask: u32,
    /// `--on-port`, host order.
    pub port: u16,
    /// Zero.
    pub pad: u16,
}

/// Parameters of TEE, in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TeeParams {
    /// `--gateway`, network byte order; IPv4: the first word.
    pub gateway: [u32; 4],
    /// `--oif`, ended by zeros; all zero: not given.
    pub oif: [u8; 16],
}

/// Parameters of SNPT and DNPT, in a line. Network byte order, but for `bits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NptParams {
    /// `--src-pfx`: by it an error's quote is known.
    pub from: [u8; 16],
    /// Its mask.
    pub from_mask: [u8; 16],
    /// `--dst-pfx`.
    pub to: [u8; 16],
    /// The words of an address that change, as masks: of the longer prefix.
    pub mask: [u32; 2],
    /// Length of the longer prefix.
    pub bits: u32,
    /// What is added to a word behind the prefix, in ones' complement.
    pub adjust: u32,
}

/// Parameters of a NAT target, in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NatParams {
    /// `NAT_*` bits.
    pub flags: u32,
    /// First address, network byte order.
    pub min: u32,
    /// Last address, network byte order.
    pub max: u32,
    /// First port, host order.
    pub port_lo: u16,
    /// Last port, inclusive, host order.
    pub port_hi: u16,
    /// Base port of a shifted range, host order.
    pub base: u16,
    /// Zero.
    pub pad: u16,
}

/// Parameters of a NAT target in an IPv6 image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NatParams6 {
    /// See [`NatParams`].
    pub flags: u32,
    /// First address, network byte order; NETMAP: the network.
    pub min: [u8; 16],
    /// Last address, network byte order; NETMAP: the mask.
    pub max: [u8; 16],
    /// See [`NatParams`].
    pub port_lo: u16,
    /// See [`NatParams`].
    pub port_hi: u16,
    /// See [`NatParams`].
    pub base: u16,
    /// Zero.
    pub pad: u16,
}

/// [`NatParams::flags`], numbered as `NF_NAT_RANGE_*`: addresses are given.
pub const NAT_MAP_IPS: u32 = 1;
/// Ports are given.
pub const NAT_PROTO_SPECIFIED: u32 = 2;
/// `--random`.
pub const NAT_PROTO_RANDOM: u32 = 4;
/// `--persistent`.
pub const NAT_PERSISTENT: u32 = 8;
/// `--random-fully`.
pub const NAT_PROTO_RANDOM_FULLY: u32 = 16;
/// A base port is given.
pub const NAT_PROTO_OFFSET: u32 = 32;

const _: () = {
    assert!(size_of::<Op>() == 16);
    assert!(size_of::<HashlimitTable>() == 96);
    assert!(size_of::<RecentParams>() == 16);
    assert!(size_of::<TimeParams>() == 24);
    assert!(size_of::<SetParams>() == 56);
    assert!(size_of::<NatParams>() == 20);
    assert!(size_of::<RecentParams6>() == 28);
    assert!(size_of::<NatParams6>() == 44);
    assert!(size_of::<NptParams>() == 64);
    assert!(size_of::<HmarkParams>() == 56);
};
