/* SPDX-License-Identifier: GPL-2.0-only */
/* The C mirror of the crate `abi`. A test of the crate `ebpf` reads the compiled object's BTF and fails on any size or offset
 * that differs; codes are explained there. */
#pragma once

/* The family that is compiled. Layouts with addresses differ by it, and nothing else. */
#ifndef BT_FAMILY
#define BT_FAMILY 4
#endif
#if BT_FAMILY == 6
typedef struct bt_addr6 {
	__u32 w[4];
} bt_addr;
#else
typedef __u32 bt_addr;
#endif

#define BT_ABI_VERSION 13
#define BT_MAGIC 0x4d495442u
#define BT_IMAGE_SLOTS 64
#define BT_COUNTER_CHUNK 4096
#define BT_COUNTER_CHUNKS 1024
#define BT_BASES_LINE 1
#define BT_TABLES 5

enum bt_table { T_RAW, T_MANGLE, T_NAT, T_FILTER, T_SECURITY };
enum bt_hook { H_PRE, H_IN, H_FWD, H_OUT, H_POST };
enum bt_image_flag {
	IMG_CONNTRACK = 1, IMG_NAT = 2, IMG_IFACE = 4, IMG_DNPT = 8, IMG_GUARD = 256, IMG_MAC = 1024, IMG_GROUPS = 2048, IMG_ZONES = 4096,
	IMG_CLAMP = 8192, IMG_GUARD_LOOPBACK = 1 << 15, IMG_NO_VRF = 1 << 14, IMG_DEFRAG = 1 << 24, IMG_TRACE = 1 << 17, IMG_ACCT = 1 << 18, IMG_LABELS = 1 << 19,
	/* Asked for by their parts of the programs alone. */
	IMG_SETS = 1 << 4, IMG_RECENT = 1 << 5, IMG_HEADERS = 1 << 6, IMG_SELDOM = 1 << 7,
};
/* Fragments are shown to rules as parts of their packets. */
#define IMG_WHOLE (IMG_CONNTRACK | IMG_DEFRAG)
enum bt_chain_kind { CHAIN_LIST, CHAIN_HASH, CHAIN_BITVEC };
enum bt_policy { POLICY_RETURN, POLICY_ACCEPT, POLICY_DROP };
enum bt_vecref { VR_ABSENT, VR_EMPTY, VR_ONE, VR_LIST, VR_VEC, VR_ALL, VR_PAGE };
#define VR_SHIFT 29
#define VR_PAYLOAD ((1u << VR_SHIFT) - 1)
#define VR_LIST_MAX 31
enum bt_field_what { F_SADDR, F_DADDR, F_PROTO, F_SPORT, F_DPORT, F_IIF, F_OIF, F_ICMP, F_TCP_FLAGS, F_CTSTATE };
enum bt_field_kind { FK_PREFIX, FK_PAGE16, FK_DIRECT };
#define BT_IFACE_EXACT 16
#define BT_KEY6 0x9e3779b97f4a7c15ULL

enum bt_rule_flag {
	RF_SADDR = 1 << 0, RF_INV_SADDR = 1 << 1, RF_DADDR = 1 << 2, RF_INV_DADDR = 1 << 3,
	RF_IIF = 1 << 4, RF_INV_IIF = 1 << 5, RF_OIF = 1 << 6, RF_INV_OIF = 1 << 7,
	RF_PROTO = 1 << 8, RF_INV_PROTO = 1 << 9, RF_FRAG = 1 << 10, RF_NOT_FRAG = 1 << 11,
	RF_INV_SPORT = 1 << 12, RF_INV_DPORT = 1 << 13, RF_INV_TCP_FLAGS = 1 << 14, RF_INV_ICMP = 1 << 15,
	RF_NEVER = 1 << 16, RF_WALK = 1 << 17,
};
enum bt_l4 { L4_NONE, L4_TCP, L4_UDP, L4_ICMP };

enum bt_opcode {
	OP_TCP = 1, OP_UDP, OP_ICMP, OP_MULTIPORT, OP_MARK, OP_CONNMARK, OP_STATE, OP_CT, OP_CT_PROTO, OP_CT_ADDR,
	OP_CT_PORT, OP_CT_STATUS, OP_CT_EXPIRES, OP_CT_DIR, OP_ADDRTYPE, OP_RANDOM, OP_NTH, OP_LIMIT, OP_RECENT,
	OP_MAC = 32, OP_OWNER, OP_PKTTYPE, OP_LENGTH, OP_TTL, OP_TOS, OP_ECN, OP_IPRANGE, OP_POLICY,
	OP_SCTP, OP_DCCP, OP_SPI, OP_TCPMSS, OP_AH6, OP_IPV6HEADER, OP_FRAG, OP_RT, OP_OPTS, OP_MH, OP_SRH, OP_EUI64,
	OP_DEVGROUP, OP_REALM, OP_RPFILTER, OP_CGROUP, OP_STRING, OP_BPF,
	OP_U32 = 64, OP_TIME, OP_CPU,
	OP_QUOTA = 80, OP_CLUSTER, OP_HASHLIMIT, OP_CONNBYTES, OP_CONNLABEL, OP_HELPER, OP_CONNLIMIT, OP_PHYSDEV,
	OP_SET = 90,
	OP_RATEEST = 96, OP_SOCKET, OP_CGROUP_PATH,
};
#define BT_MAX_OPS 32
enum bt_op_flag {
	OPF_INVERT = 1,
	OPF_INV_SPORT = 2, OPF_INV_DPORT = 4, OPF_INV_TCP_FLAGS = 8, OPF_INV_TCP_OPTION = 16,
	OPF_ADDRTYPE_INV_SRC = 2, OPF_ADDRTYPE_INV_DST = 4, OPF_ADDRTYPE_LIMIT_IN = 8, OPF_ADDRTYPE_LIMIT_OUT = 16,
};
enum bt_target {
	TG_NONE, TG_ACCEPT, TG_DROP, TG_RETURN, TG_JUMP, TG_GOTO, TG_REJECT, TG_MARK, TG_CONNMARK,
	TG_DNAT, TG_SNAT, TG_MASQUERADE, TG_REDIRECT, TG_NETMAP, TG_NOTRACK, TG_LOG,
	TG_TOS = 24, TG_TTL, TG_ECN, TG_TCPMSS, TG_TCPOPTSTRIP, TG_CLASSIFY,
	TG_CHECKSUM = 32, TG_SNPT, TG_DNPT,
	TG_CT = 48,
	TG_NFLOG = 100, TG_TRACE,
	TG_HMARK = 111, TG_RATEEST, TG_TPROXY, TG_TEE, TG_SET,
};
enum bt_track { TRACK_NOT = 1, TRACK_ORIG = 4, TRACK_REPLY = 8, TRACK_MARK = 16 };
enum bt_nat_flag {
	NAT_MAP_IPS = 1, NAT_PROTO_SPECIFIED = 2, NAT_PROTO_RANDOM = 4, NAT_PERSISTENT = 8,
	NAT_PROTO_RANDOM_FULLY = 16, NAT_PROTO_OFFSET = 32,
};
enum bt_ct_state_bit {
	CTS_INVALID = 1, CTS_ESTABLISHED = 2, CTS_RELATED = 4, CTS_NEW = 8, CTS_UNTRACKED = 16, CTS_SNAT = 32, CTS_DNAT = 64,
};
enum bt_status {
	ST_SEEN_REPLY = 1 << 1, ST_ASSURED = 1 << 2, ST_CONFIRMED = 1 << 3, ST_SRC_NAT = 1 << 4, ST_DST_NAT = 1 << 5,
	ST_SRC_NAT_DONE = 1 << 7, ST_DST_NAT_DONE = 1 << 8, ST_DYING = 1 << 9, ST_LIVE = 1 << 16,
	ST_ACCT = 1 << 21, ST_LABELS = 1 << 22,
};
enum bt_timeout {
	TO_TCP = 0, TO_TCP_RETRANS = 10, TO_TCP_UNACK = 11, TO_UDP = 12, TO_UDP_STREAM = 13, TO_ICMP = 14, TO_GENERIC = 15, TO_SCTP = 16,
};
enum bt_stat {
	STAT_DROP_RULE, STAT_DROP_TABLE_FULL, STAT_DROP_NAT_EXHAUSTED, STAT_DROP_FRAGMENT, STAT_DROP_HOTDROP, STAT_DROP_DEPTH,
	STAT_DROP_NO_ROUTE, STAT_DROP_MTU, STAT_DROP_REWRITE, STAT_DROP_IMAGE, STAT_REJECTED, STAT_CONN_NEW,
	STAT_CONN_EARLY_DROP, STAT_DROP_REJECT_FAILED, STAT_DROP_UNCOVERED, STAT_EVENT_LOST, STAT_HOST_ROUTED, STAT_COPY_LOST,
	STAT_DROP_IPSEC, STAT_SET_LOST, STAT_DROP_UNASKED, STAT_COUNT = 32,
};

struct bt_line {
	__u32 w[16];
};

struct bt_header {
	__u32 magic, abi, generation, family, lines, flags, blob_line, blob_len, iface_table, iface_mask;
	__u64 iface_seed;
	__u32 iface_lens, iface_classes, present, blob_crc;
};

struct bt_chain {
	__u32 rules, nrules;
	__u8 kind, policy, nfields, pad;
	__u32 policy_slot, hash_table, hash_mask;
	__u64 hash_seed;
	__u32 residual, fields, next, name;
	__u32 reserved[4];
};

struct bt_field {
	__u8 what, kind;
	__u16 pad;
	__u32 table, lens, mask;
	__u64 seed;
	__u32 dflt, absent;
};

struct bt_bucket {
	__u64 keys[5];
	__u32 values[5];
	__u32 pad;
};

struct bt_rule {
	__u32 flags, saddr, smask, daddr, dmask;
	__u16 iif_lo, iif_hi, oif_lo, oif_hi, sport_lo, sport_hi, dport_lo, dport_hi;
	__u8 proto, l4, l4_a, l4_b, target, nops;
	__u16 pad;
	__u32 ops, arg, slot, number, bare;
};

#if BT_FAMILY == 6
struct bt_key6 {
	__u64 hi, lo;
};

struct bt_bucket6 {
	struct bt_key6 keys[3];
	__u32 values[3];
	__u8 lens[3], pad;
};

struct bt_addrs6 {
	bt_addr saddr, smask, daddr, dmask;
};

struct bt_npt_params {
	bt_addr from, from_mask;
	bt_addr to;
	__u32 mask[2];
	__u32 bits, adjust;
};
#endif

struct bt_op {
	__u8 op, flags;
	__u16 a;
	__u32 b, c, d;
};

struct bt_recent_params {
	__u32 seconds, hitcount;
	bt_addr mask;
	__u8 op, dest, ttl, reap;
};

enum bt_hashlimit_mode {
	HASHLIMIT_DESTINATION = 1, HASHLIMIT_DESTINATION_PORT = 2, HASHLIMIT_SOURCE = 4, HASHLIMIT_SOURCE_PORT = 8,
	HASHLIMIT_BYTES = 32, HASHLIMIT_RATE_MATCH = 64,
};

struct bt_hashlimit_table {
	__u64 rate[4];
	__u32 smask[4], dmask[4];
	__u64 born, swept;
	__u32 expire, gc, mode, pad;
};

enum bt_set_flag { SETF_RETURN_NOMATCH = 1 };

struct bt_set_params {
	char name[32];
	__u64 packets, bytes;
	__u8 packets_op, bytes_op, dim, sides, flags, pad[3];
};

enum bt_set_type_code {
	SETT_BITMAP_IP, SETT_BITMAP_IPMAC, SETT_BITMAP_PORT, SETT_HASH_IP, SETT_HASH_MAC, SETT_HASH_IPMAC, SETT_HASH_IPMARK,
	SETT_HASH_IPPORT, SETT_HASH_IPPORTIP, SETT_HASH_IPPORTNET, SETT_HASH_NET, SETT_HASH_NETPORT, SETT_HASH_NETIFACE,
	SETT_HASH_NETNET, SETT_HASH_NETPORTNET, SETT_COUNT,
};

struct bt_set_type {
	__u16 table, initval, bitmask, markmask, nets, stride, cidr_at, nlen;
	__u16 members, first, last, hosts, netmask, ext;
	__u8 known, words, ip, ip2, port, proto, cidr, cidr2, nomatch, packed, mac, mark, iface, wildcard, elem, filled;
};

struct bt_set_conf {
	__u32 net_id;
	__u16 net_list, net_max, name, type_, family, extensions, dsize, offsets, data;
	__u16 type_name, type_dimension, type_features, bits, buckets, used, pos, value, bytes, packets;
	__u16 list_members, elem_list, elem_id;
	__u16 prefixes_seq, prefixes_len, prefixes_list, timeout, skbmark, skbmarkmask, skbprio, pad;
	struct bt_set_type types[16];
};

struct bt_set_probe {
	__u32 net_id, index, member, found;
	char name[32], type_[32];
	__u8 extensions, family, dimension, pad;
	__u32 guard;
	__u64 set;
};

enum bt_set_target_flag { SETW_ADD = 1, SETW_DEL = 2, SETW_EXIST = 4, SETW_TIMEOUT = 8, SETW_MAP_MARK = 16, SETW_MAP_PRIO = 32 };

struct bt_set_target {
	__u32 add, add_state, del, del_state, map, map_state, flags, timeout;
};

struct bt_set_head {
	__u32 heap, some[2], pad;
};

struct bt_set_key {
	__u64 set;
	__u32 guard, heap, elem[12];
};

enum bt_set_what { SET_ADDED = 1, SET_DELETED, SET_HOSTS };
enum bt_set_has { HAS_IP = 1, HAS_IP2 = 2, HAS_PORT = 4, HAS_PROTO = 8, HAS_MAC = 16, HAS_MARK = 32, HAS_TIMEOUT = 64, HAS_CIDR = 128 };

struct bt_set_change {
	__u64 at, expires;
	__u8 what, has, family, proto;
	__u32 mark;
	__u8 ip[16], ip2[16], port[2], mac[6], cidr, pad[7];
};

struct bt_acct {
	__u64 packets[2], bytes[2];
};

enum bt_rateest_asked { RATEEST_DELTA = 1, RATEEST_BYTES = 2, RATEEST_PACKETS = 4, RATEEST_OTHER = 8 };
enum bt_rateest_comparison { RATEEST_EQUAL, RATEEST_LESS, RATEEST_GREATER };

struct bt_rateest {
	__u32 lock;
	__u8 log, ewma;
	__u16 pad;
	__u64 next, bytes, packets, came_bytes, came_packets;
};

struct bt_hmark_params {
	__u32 smask[4], dmask[4];
	__u32 port_mask, port_set, rnd, modulus, offset;
	__u16 proto_mask, conntrack;
};

struct bt_tproxy_params {
	__u32 addr[4];
	__u32 mark, mask;
	__u16 port, pad;
};

struct bt_tee_params {
	__u32 gateway[4];
	char oif[16];
};

struct bt_nat_params {
	__u32 flags;
	bt_addr min, max;
	__u16 port_lo, port_hi, base, pad;
};

#define BT_MAX_U32_STEPS 200
enum bt_u32_step { U32_LOAD = 1, U32_AND, U32_LEFT, U32_RIGHT, U32_AT, U32_RANGE };

struct bt_time_params {
	__u32 date_start, date_stop, day_start, day_stop, month_days;
	__u8 week_days, kernel_zone, contiguous, pad;
};

struct bt_control {
	__u32 slot4, slot6, lo_ifindex, max_conns, magic, seed;
	__u32 timeouts[32];
	__u32 tcp_loose, tcp_be_liberal, tcp_max_retrans, tcp_ignore_invalid_rst, checksum, local_ports;
	__u64 netns;
	__u32 tai_offset, minutes_west;
	__u32 programs[6], guard, host_routing, tuple_mask, reserved;
};

struct bt_port {
	__u32 bridge, reserved;
};

/* What a program is for, in bt_guard_progs. */
enum bt_guarded { GUARDED_DEVICE = 1, GUARDED_PORT };

struct bt_icmp_conf {
	__u32 known, ratelimit_ms, ratemask, msgs_per_sec, msgs_burst, ttl;
};

struct bt_counter {
	__u64 packets, bytes;
};

struct bt_addr_key {
	__u32 len;
	bt_addr addr;
};

struct bt_addr_info {
	__u32 kind, ifindex;
};

struct bt_dev_info {
	char name[16];
	__u64 class;
	__u32 l2len, group;
};

#define BT_EVENTS_SIZE (1 << 18)
#define BT_EVENT_PACKET 192
enum bt_event_kind { EVENT_LOG = 1, EVENT_NFLOG, EVENT_TRACE, EVENT_SET };
enum bt_trace_what { TRACE_RULE, TRACE_RETURN, TRACE_POLICY };

struct bt_log_params {
	__u8 level, flags, prefix[30];
};

struct bt_event_head {
	__u64 time;
	__u8 kind, hook, owned, mac_len;
	__u32 ifin, ifout, mark, uid, gid, len, captured;
	__u8 mac[16];
};

struct bt_event {
	struct bt_event_head head;
	__u32 number;
	__u8 table, what;
	__u16 pad;
	struct bt_log_params params;
	__u8 packet[BT_EVENT_PACKET];
};

#define BT_NFLOG_PACKET (1 << 16)

struct bt_nflog_params {
	__u32 size;
	__u16 group;
	__u8 sized, pad;
};

struct bt_nflog_event {
	struct bt_event_head head;
	__u32 size;
	__u16 group, hw_type, hw_len;
	__u8 sized, pad[5];
	__u64 stamp;
	__u8 prefix[64];
};

struct bt_chain_name {
	__u8 name[32];
	__u32 rules;
	__u32 reserved[7];
};

struct bt_survey {
	__u32 link, kind, inode, references;
	__u64 cookie;
};

struct bt_tuple {
	bt_addr saddr, daddr;
	__u16 sport, dport;
	__u8 proto, kind;
	__u16 zone;
};

#define BT_TUPLE_WAYS 15
/* The bit of a way where the key's kind begins; below it number << 1 | direction, plus 2. */
#define BT_WAY_KIND 30
struct bt_tuple_line {
	__u64 head, ways[BT_TUPLE_WAYS];
};

struct bt_tcp_side {
	__u32 end, maxend, maxwin, maxack;
	__u8 scale, flags;
	__u16 pad;
};

struct bt_conn {
	struct bt_tuple orig, reply;
	__u32 status, mark;
	__u64 expires;
	struct bt_tcp_side side[2];
	__u8 tcp_state, last_dir, retrans, last_index;
	__u32 last_seq, last_ack, last_end;
	__u16 last_win;
	__u8 last_flags, last_wscale;
	__u32 masq_ifindex, dnat_slot, lock;
	__u64 stream_ts, born;
	__u64 reserved[3];
};
