/* SPDX-License-Identifier: GPL-2.0-only */
/* -j LOG: what the line in the log is made of goes into a ring, from which the agent takes it. A full ring stalls nobody: the event is
 * lost, and counted. */
#pragma once

#include "bt.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, BT_EVENTS_SIZE);
} bt_events SEC(".maps");

struct kuid___log {
	__u32 val;
} __attribute__((preserve_access_index));
struct kgid___log {
	__u32 val;
} __attribute__((preserve_access_index));
struct cred___log {
	struct kuid___log fsuid;
	struct kgid___log fsgid;
} __attribute__((preserve_access_index));
struct file___log {
	struct cred___log *f_cred;
} __attribute__((preserve_access_index));
struct socket___log {
	struct file___log *file;
} __attribute__((preserve_access_index));
struct sock_common___log {
	unsigned char skc_state;
} __attribute__((preserve_access_index));
struct sock___log {
	struct sock_common___log __sk_common;
	struct socket___log *sk_socket;
} __attribute__((preserve_access_index));
struct sk_buff___log {
	struct sock___log *sk;
} __attribute__((preserve_access_index));

#define TCP_TIME_WAIT 6
#define TCP_NEW_SYN_RECV 12
#define LOG_UID 8

/* Who owns the packet's socket, if it has one with an open file. */
static __always_inline void log_owner(struct __sk_buff *skb, struct bt_event_head *e)
{
	struct sk_buff___log *k = (void *)skb;
	struct sock___log *sk = BPF_CORE_READ(k, sk);

	if (!sk)
		return;
	__u8 state = BPF_CORE_READ(sk, __sk_common.skc_state);
	if (state == TCP_TIME_WAIT || state == TCP_NEW_SYN_RECV)
		return;
	struct file___log *file = BPF_CORE_READ(sk, sk_socket, file);
	if (!file)
		return;
	e->uid = BPF_CORE_READ(file, f_cred, fsuid.val);
	e->gid = BPF_CORE_READ(file, f_cred, fsgid.val);
	e->owned = 1;
}

/* What every event tells of its packet; `owner`: whose it is, too. */
static __always_inline void event_begin(struct __sk_buff *skb, struct bt_pkt *p, struct bt_event_head *e, bool owner)
{
	e->time = bpf_ktime_get_ns();
	e->hook = p->hook;
	e->owned = 0;
	e->mac_len = 0;
	e->ifin = p->ifin;
	e->ifout = p->ifout;
	e->mark = p->mark;
	e->uid = e->gid = 0;
	e->len = skb->len - p->l2len;
	/* At ingress the socket is still the sender's, which netfilter's hooks do not see any more. */
	if (owner && p->flags & P_LOCAL && !p->answer && (p->hook == H_OUT || p->hook == H_POST))
		log_owner(skb, e);
	/* At egress the link header is the one that the packet leaves with, and was not there when netfilter's hooks look. */
	if (has_link_header(p) && (p->hook == H_PRE || p->hook == H_IN) && !bpf_skb_load_bytes(skb, 0, e->mac, ETH_HLEN))
		e->mac_len = ETH_HLEN;
}

/* NULL: the ring is full. */
static __always_inline struct bt_event *event_reserve(void)
{
	struct bt_event *e = bpf_ringbuf_reserve(&bt_events, sizeof(*e), 0);

	if (!e)
		stat_add(STAT_EVENT_LOST);
	return e;
}

/* What the packet itself tells; an event of all but what the rule wants of it. */
static __always_inline void log_packet(struct __sk_buff *skb, struct bt_pkt *p, struct bt_event *e)
{
	__u32 n;

	event_begin(skb, p, &e->head, e->params.flags & LOG_UID);
	e->number = 0;
	e->table = p->table;
	e->what = e->pad = 0;
	n = e->head.len;
	if (n > BT_EVENT_PACKET)
		n = BT_EVENT_PACKET;
	n = masked(n, 255);
	if (n == 0 || n > BT_EVENT_PACKET || bpf_skb_load_bytes(skb, p->l2len, e->packet, n))
		n = 0;
	e->head.captured = n;
}

/* `at`: the line of the rule's struct bt_log_params. */
__noinline int bt_log(struct __sk_buff *skb, __u32 at)
{
	struct bt_pkt *p = pkt();
	struct bt_log_params *params;
	struct bt_event *e;
	void *img;

	if (!p)
		return 0;
	img = image(p->slot);
	if (!img)
		return 0;
	params = line(img, at);
	if (!params)
		return 0;
	e = event_reserve();
	if (!e)
		return 0;
	e->head.kind = EVENT_LOG;
	e->params = *params;
	log_packet(skb, p, e);
	bpf_ringbuf_submit(e, 0);
	return 0;
}
