/* SPDX-License-Identifier: GPL-2.0-only */
/* -j NFLOG: the packet, as far as the rule asks for it, goes into the ring of events, from which the agent hands it to the group's
 * listener. Room in the ring is taken in a few sizes, since the verifier wants to know them. */
#pragma once

#include "bt.h"
#include "log.h"

struct net_device___nflog {
	unsigned short type, hard_header_len;
} __attribute__((preserve_access_index));
struct sk_buff___nflog {
	struct net_device___nflog *dev;
} __attribute__((preserve_access_index));

/* Writes the event with the first `n` bytes of the packet, at most `room` (a power of two). False: the ring has no place. */
static __always_inline bool nflog_write(struct __sk_buff *skb, struct bt_pkt *p, struct bt_nflog_params *params, __u64 *prefix,
					__u32 n, const __u32 room)
{
	struct bt_nflog_event *e = bpf_ringbuf_reserve(&bt_events, sizeof(*e) + room, 0);

	if (!e)
		return false;
	event_begin(skb, p, &e->head, true);
	e->head.kind = EVENT_NFLOG;
	e->size = params->size;
	e->group = params->group;
	e->sized = params->sized;
	__builtin_memset(e->pad, 0, sizeof(e->pad));
	for (int i = 0; i < 8; i++)
		((__u64 *)e->prefix)[i] = prefix[i];
	e->hw_type = e->hw_len = 0;
	e->stamp = 0;
	/* netfilter tells a time at these hooks alone. */
	if (p->hook <= H_FWD) {
		struct bt_control *ctl = control();

		e->stamp = p->hook == H_FWD ? 0 : skb->tstamp;
		if (!e->stamp && ctl)
			e->stamp = bpf_ktime_get_tai_ns() - (__s64)(__s32)ctl->tai_offset * 1000000000;
	}
	if (p->hook == H_PRE || p->hook == H_IN) {
		struct sk_buff___nflog *k = (void *)skb;

		e->hw_type = BPF_CORE_READ(k, dev, type);
		e->hw_len = BPF_CORE_READ(k, dev, hard_header_len);
	}
	e->head.captured = 0;
	if (n) {
		n = length(n, room - 1);
		if (!bpf_skb_load_bytes(skb, p->l2len, e + 1, n))
			e->head.captured = n;
	}
	bpf_ringbuf_submit(e, 0);
	return true;
}

/* `at`: the line of the rule's struct bt_nflog_params; the next one has its prefix. */
__noinline int bt_nflog(struct __sk_buff *skb, __u32 at)
{
	struct bt_pkt *p = pkt();
	struct bt_nflog_params *params;
	__u64 *prefix;
	void *img;
	__u32 n;
	bool written;

	if (!p)
		return 0;
	img = image(p->slot);
	if (!img)
		return 0;
	params = line(img, at);
	prefix = line(img, at + 1);
	if (!params || !prefix)
		return 0;
	n = skb->len - p->l2len;
	if (params->sized && n > params->size)
		n = params->size;
	if (n > BT_NFLOG_PACKET)
		n = BT_NFLOG_PACKET;
	if (n <= 128)
		written = nflog_write(skb, p, params, prefix, n, 128);
	else if (n <= 2048)
		written = nflog_write(skb, p, params, prefix, n, 2048);
	else if (n <= 16384)
		written = nflog_write(skb, p, params, prefix, n, 16384);
	else
		written = nflog_write(skb, p, params, prefix, n, BT_NFLOG_PACKET);
	if (!written)
		stat_add(STAT_EVENT_LOST);
	return 0;
}
