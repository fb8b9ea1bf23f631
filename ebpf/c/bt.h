/* SPDX-License-Identifier: GPL-2.0-only */
/* What all parts of the programs share: the packet's scratch record, the maps, small helpers.
 *
 * The scratch record is per CPU. It may be: programs at tcx run with bottom halves off, one at a time on a CPU, and nothing here
 * re-enters (no bpf_clone_redirect). Global functions (not static, `__noinline`) are verified once each and find it again by
 * pkt(); so adding a check does not multiply the verifier's work. */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"
#include "addr.h"

#define BT_NEXT (-1) /* TCX_NEXT */
#define BT_DROP 2    /* TCX_DROP */
#define BT_REDIRECT 7

#define ETH_HLEN 14
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_DCCP 33
#define IPPROTO_SCTP 132
#define IPPROTO_UDPLITE 136

/* What most packets do stands together in the code, so that it takes few lines of the cache. */
#define INET_DSCP_MASK 0xfc /* of the byte with the TOS: the bits that routes are chosen by; the rest is ECN */
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* `v & mask`, not to be optimised away where the compiler knows a bound that the verifier does not. */
static __always_inline __u64 masked(__u64 v, const __u64 mask)
{
	asm volatile("%0 &= %1" : "+r"(v) : "i"(mask));
	return v;
}

/* A length of 1 to `mask` + 1 bytes for a helper: never zero, and within bounds that every verifier sees. */
static __always_inline __u32 length(__u32 len, const __u64 mask)
{
	return masked(len - 1, mask) + 1;
}

#define PEEK_MOST 511 /* the largest offset at which a packet is read where it lies */

/* `words` words of the packet from `off` on. Read where they lie, which costs a fraction of a helper's call, if the packet's linear part
 * has them. 0: they are there. */
static __always_inline int peek(struct __sk_buff *skb, __u32 off, void *to, const __u32 words)
{
	__u32 *from, *w = to;

	/* IPv6's walk of headers has no room for a second way in what verifiers follow. */
	if (BT_FAMILY == 4 && likely(off <= PEEK_MOST)) {
		from = (void *)(long)skb->data + masked(off, PEEK_MOST);
		if (likely((void *)(from + words) <= (void *)(long)skb->data_end)) {
#pragma unroll
			for (__u32 i = 0; i < words; i++)
				w[i] = from[i];
			return 0;
		}
	}
	return bpf_skb_load_bytes(skb, off, to, words * 4);
}

/* Of linux/bpf.h, newer than Debian 12's headers. */
#define FIB_SKIP_NEIGH (1u << 2) /* Linux 6.3 */
#define FIB_SRC (1u << 4)        /* Linux 6.7 */
#define FIB_MARK (1u << 5)       /* Linux 6.10 */

/* The few kernel fields that we read, by CO-RE. */
struct net {
	__u64 net_cookie;
} __attribute__((preserve_access_index));
typedef struct {
	struct net *net;
} __attribute__((preserve_access_index)) possible_net_t;
struct net_device {
	char name[16];
	int ifindex;
	possible_net_t nd_net;
} __attribute__((preserve_access_index));
struct sk_buff {
	struct net_device *dev;
	__u8 ip_summed : 2;
} __attribute__((preserve_access_index));

enum bt_pkt_flag {
	P_PORTS = 1,   /* sport and dport are the packet's */
	P_TRUNC = 2,   /* the L4 header is shorter than its protocol's */
	P_MORE = 4,    /* more fragments follow */
	P_MOVED = 8,   /* IPv6: a rule gave it another destination */
	P_LOCAL = 16,  /* made by this host */
	P_BAD_EXT = 32,  /* IPv6: its extension headers lead to no transport protocol */
	P_FRAG_HDR = 64, /* IPv6: it has a fragment header */
	P_WHOLE = 128,   /* IPv6: of which rules see nothing, nor would they behind netfilter's reassembly */
};

/* Connection state of the packet, as netfilter's ctinfo. */
enum bt_ctinfo { CI_NONE, CI_NEW, CI_ESTABLISHED, CI_RELATED, CI_INVALID, CI_UNTRACKED };
enum bt_dir { DIR_ORIG, DIR_REPLY };
enum bt_manip { MANIP_SRC, MANIP_DST };

/* What a chain's traversal ends in. */
enum bt_verdict { V_ACCEPT, V_DROP, V_REJECT, V_NAT };

/* What a packet at egress is that our programs made: an answer of REJECT (an ICMP error has the kernel's own socket, a reset has none), or a
 * copy by TEE (which has none). */
enum bt_answered { ANSWER_NONE, ANSWER_REJECT, ANSWER_COPY };

#define BT_STACK 16
#define BT_MAX_FIELDS 8

struct bt_frame {
	__u32 chain, pos;
};

/* A sorted list of candidates being walked: `next` is the next rule, BT_NONE at the end. `second` is the list's second
 * one, so that most lists are read once. */
struct bt_stream {
	__u32 line, count, at, next, second;
};
#define BT_NONE 0xffffffffu

/* Where a packet goes that left OUTPUT changed. */
struct bt_hop {
	bt_addr to;
	bool set;
};

struct bt_pkt {
	/* The packet as it is now. Addresses in network byte order, ports in host byte order. */
	bt_addr saddr, daddr;
	/* At ingress as it came in, at egress (without the destination) as it came to nat's POSTROUTING; not on the stack, which is full. */
	bt_addr came_from, came_to;
	bt_addr before_nat; /* its source before nat's INPUT */
#if BT_FAMILY == 6
	bt_addr sought; /* what bt_own_addr is asked about */
#endif
	__u32 came_mark;
	__u16 came_port;
	__u16 sport, dport;
	__u8 proto, tcp_flags, icmp_type, icmp_code;
	__u16 l2len;    /* bytes before the IP header in skb->data */
	__u8 bare;      /* they are no link header of its device's, which has none */
	__u16 ihl;      /* bytes of IP header */
	__u16 frag_off; /* in units of 8 bytes; 0: whole or first */
	bt_frag_id ip_id; /* network byte order */
#if BT_FAMILY == 6
	__u16 frag_real; /* frag_off, which is hidden where a packet looks whole to rules */
#endif
	__u8 flags;     /* bt_pkt_flag */
	__u8 ttl, tos;
	__u8 traced;    /* TRACE was met */
	__u8 copied;    /* a bridge may have more copies of it, which share its connection */
	__u8 noted;     /* NOTED_* that came along with it */
	__u32 len;      /* IP total length */
	__u32 mark;
	__u32 ifin, ifout;
	/* The VRF of the packet's device, which may be that VRF itself; 0: none. It stands for lo where there is one. */
	__u32 vrf, lo;
	__u8 halves; /* this host sends it by a member, and OUTPUT and POSTROUTING were asked as of the VRF's before */
	__u16 class_in, class_out; /* interface classes of the image */
	__u8 hook, table;
	__u8 assigned; /* TPROXY gave it a socket */
	__u8 answer;    /* at egress: bt_answered */
	__u32 slot;     /* of the image this packet reads */
	__u32 generation;
	__u32 img_flags;
	__u32 present;  /* base chains of the image, bit hook * BT_TABLES + table */
	/* What counters add. Fragments of a packet that netfilter would show whole add up to one: a later one adds its payload. */
	__u32 npkts, nbytes;
	__u32 cpu_base; /* cpu * BT_COUNTER_CHUNK */
	/* Not 0 while this is the record of a packet on its way from ingress to another device's egress: the number that it carries. */
	__u32 token, tokens;

	/* Where the FIB leads it, once it was asked. */
	struct bpf_fib_lookup fib;

	/* At egress: where it goes instead, if OUTPUT changed it. */
	struct bt_hop hop;

	/* Its connection. */
	__u32 ct;       /* connection number + 1; 0: none */
	__u8 ctinfo;    /* bt_ctinfo */
	__u8 ctdir;     /* bt_dir */
	__u8 track;     /* bt_track: what NOTRACK or CT, whichever was met first, wants */
	__s8 mac_known; /* at FORWARD: 1: mac is its source's link address; 0: it has none; -1: not known */

	__u64 mac;      /* as six bytes in memory */
	__u8 macs[12];  /* of what goes in by lo: destination and source */

	/* What a nat target asked for (V_NAT), or a reject. */
	__u8 nat_target; /* bt_target; TG_NONE: no rule */
	__u8 reject;     /* arg of TG_REJECT */
	__u16 zone;      /* of CT, if `track` says so */
	__u32 nat_slot;  /* counter slot of the rule */
	struct bt_nat_params nat;

	/* The traversal. */
	__u32 m_chain, m_pos, m_rules, m_nrules, m_next;
	__u32 m_depth;
	__u8 m_mode, m_nvec, m_policy, m_verdict;
	__u32 m_policy_slot;
	struct bt_stream m_stream[2]; /* candidate lists */
	__u32 m_vec[BT_MAX_FIELDS]; /* lines of vectors */
	__u64 m_sum;                /* what is left of the summary word */
	__u32 m_sumword, m_block;
	__u64 m_bits;
	__u64 m_blk[8];
	__u32 m_word;
	struct bt_frame m_stack[BT_STACK];

	/* Ops of the rule being checked. */
	__u32 op_line, op_count;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bt_pkt);
} bt_scratch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct bt_control);
} bt_control SEC(".maps");

struct bt_image_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_INNER_MAP | BPF_F_MMAPABLE);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct bt_line));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, BT_IMAGE_SLOTS);
	__type(key, __u32);
	__array(values, struct bt_image_map);
} bt_images SEC(".maps");

struct bt_counter_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_INNER_MAP | BPF_F_MMAPABLE);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct bt_counter));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, BT_COUNTER_CHUNKS);
	__type(key, __u32);
	__array(values, struct bt_counter_map);
} bt_counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STAT_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} bt_stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct bt_addr_key);
	__type(value, struct bt_addr_info);
} bt_addrs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct bt_dev_info);
} bt_devs SEC(".maps");

/* The parts that these programs are loaded with (abi::parts), as flags of images. The verifier knows it, and leaves out what cannot be
 * reached. */
const volatile __u32 bt_parts = ~0u;

static __always_inline bool has_part(__u32 flag)
{
	return bt_parts & flag;
}

static __always_inline struct bt_pkt *pkt(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&bt_scratch, &zero);
}

/* Whether the packet's image asks for a part. */
static __always_inline bool asks(const struct bt_pkt *p, __u32 flag)
{
	return has_part(flag) && p->img_flags & flag;
}

/* At egress. */
static __always_inline bool is_copy(const struct bt_pkt *p)
{
	return p->hook >= H_FWD && p->answer == ANSWER_COPY;
}

static __always_inline struct bt_control *control(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&bt_control, &zero);
}

static __always_inline void *image(__u32 slot)
{
	return bpf_map_lookup_elem(&bt_images, &slot);
}

static __always_inline void *line(void *img, __u32 at)
{
	return bpf_map_lookup_elem(img, &at);
}

/* Whether an Ethernet header is before the IP header. */
static __always_inline bool has_link_header(const struct bt_pkt *p)
{
	return p->l2len == ETH_HLEN && !p->bare;
}

#define PACKET_HOST 0
#define PACKET_BROADCAST 1
#define PACKET_MULTICAST 2
#define PACKET_LOOPBACK 5
#define PACKET_OTHERHOST 3

/* To whom the link header is addressed. What passes between two ports of a bridge br_netfilter shows as this host's, and behind PREROUTING a
 * VRF what the stack looped back. */
static __always_inline __u32 addressed_to(struct __sk_buff *skb, const struct bt_pkt *p)
{
	__u32 type = skb->pkt_type;

	return type == PACKET_OTHERHOST || (type == PACKET_LOOPBACK && p->vrf && p->hook != H_PRE) ? PACKET_HOST : type;
}

static __always_inline void stat_add(__u32 which)
{
	__u64 *n = bpf_map_lookup_elem(&bt_stats, &which);
	if (n)
		*n += 1;
}
