/* SPDX-License-Identifier: GPL-2.0-only */
/* -j TEE: a copy of the packet for another host of the network, as xt_TEE and nf_dup: it is sent by this host, untracked, without a socket,
 * and is not copied again. OUTPUT and POSTROUTING are asked for it.
 *
 * Programs do not nest, so the copy is not sent at once: it goes to the ingress of lo (of a device without link header: to its own), where
 * the kernel queues it, and the program there sends it on to the next hop's device when its turn comes. Where it is to go stands in a
 * record whose number it carries. A record that was overtaken by others is another one's: the copy is lost then, and counted. */
#pragma once

#include "bt.h"
#include "header_targets.h"
#include "inject.h"
#include "kernel_load.h"
#include "nat_dev.h"

#define TEE_JOBS 1024 /* a CPU's queue has 1000 by default */
#define TEE_HOPS 1
#define TEE_TRACED 2

struct bt_tee_job {
	__u32 number, flags, oif, priority;
	bt_addr gateway;
};

/* The last one counts. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TEE_JOBS + 1);
	__type(key, __u32);
	__type(value, struct bt_tee_job);
} bt_tee_jobs SEC(".maps");

static __always_inline struct bt_tee_job *tee_job(__u32 at)
{
	return bpf_map_lookup_elem(&bt_tee_jobs, &at);
}

struct list_head___tee {
	struct list_head___tee *next;
} __attribute__((preserve_access_index));
struct net___tee {
	struct list_head___tee dev_base_head;
} __attribute__((preserve_access_index));
struct net_device___tee {
	struct list_head___tee dev_list;
	char name[16];
	int ifindex;
} __attribute__((preserve_access_index));

struct tee_walk {
	__u64 at, head;
	const __u64 *name;
	__u32 ifindex;
};

static long tee_device_step(__u32 n, struct tee_walk *w)
{
	__u64 dev, name;

	if (!w->at || w->at == w->head)
		return 1;
	dev = w->at - bpf_core_field_offset(struct net_device___tee, dev_list);
	name = dev + bpf_core_field_offset(struct net_device___tee, name);
	if (k64(name) == w->name[0] && k64(name + 8) == w->name[1]) {
		w->ifindex = k32(dev + bpf_core_field_offset(struct net_device___tee, ifindex));
		return 1;
	}
	w->at = k64(w->at);
	return 0;
}

/* The device of --oif; 0: there is none now, and the copy goes by any, as legacy's. */
static __always_inline __u32 tee_device(struct __sk_buff *skb, const struct bt_tee_params *n)
{
	struct net___tee *net = (void *)net_of(skb);
	__u64 name[2];
	struct tee_walk w = { .name = name };

	__builtin_memcpy(name, n->oif, sizeof(name));
	w.head = (__u64)net + bpf_core_field_offset(struct net___tee, dev_base_head);
	w.at = k64(w.head);
	bpf_loop(MAX_DEVICES, tee_device_step, &w, 0);
	return w.ifindex;
}

/* `at`: line of struct bt_tee_params. */
__noinline int bt_target_tee(struct __sk_buff *skb, __u32 at)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	struct bt_control *ctl = control();
	void *img = p ? image(p->slot) : NULL;
	struct bt_tee_params *n = img ? line(img, at) : NULL;
	struct bt_tee_job *count = tee_job(TEE_JOBS), *job;
	__u32 number, mark, a, b, c, d, to;

	if (!p || !ctl || !n || !count || is_copy(p))
		return 0;
	number = __sync_fetch_and_add(&count->number, 1);
	job = tee_job(number % TEE_JOBS);
	if (!job)
		return 0;
	/* Nobody's while it is written: another CPU may be about to read what was here. */
	__sync_lock_test_and_set(&job->number, number + 1);
	job->flags = (p->hook == H_PRE || p->hook == H_IN ? TEE_HOPS : 0) | (p->traced ? TEE_TRACED : 0);
	job->priority = skb->priority;
	job->gateway = *(bt_addr *)n->gateway;
	job->oif = n->oif[0] ? tee_device(skb, n) : 0;
	__sync_lock_test_and_set(&job->number, number);
	a = skb->cb[0];
	b = skb->cb[1];
	c = skb->cb[2];
	d = skb->cb[3];
	mark = skb->mark;
	skb->mark = p->mark;
	mark_injected(skb, ctl, INJ_TEE, number);
	to = skb->ifindex;
	/* Else clang makes one load of two kinds of pointers. */
	barrier_var(to);
	if (p->l2len)
		to = p->lo;
	if (bpf_clone_redirect(skb, to, BPF_F_INGRESS))
		stat_add(STAT_COPY_LOST);
	skb->mark = mark;
	skb->cb[0] = a;
	skb->cb[1] = b;
	skb->cb[2] = c;
	skb->cb[3] = d;
	return 0;
}

#if BT_FAMILY == 6
/* Counts the copy down, where it is so. Gives its length, without what may follow it; 0: it is not known. */
static __always_inline __u32 tee_header(struct __sk_buff *skb, struct bt_pkt *p, const struct bt_tee_job *job, struct bpf_fib_lookup *f)
{
	__u8 ip[8];

	if (bpf_skb_load_bytes(skb, p->l2len, ip, sizeof(ip)))
		return 0;
	f->flowinfo = *(__be32 *)ip & bpf_htonl(0x0fffffff);
	__builtin_memcpy(f->ipv6_dst, &job->gateway, 16);
	if (job->flags & TEE_HOPS) {
		ip[7]--;
		if (ip_word(skb, p, 6, *(__be16 *)(ip + 6)))
			return 0;
	}
	return *(__be16 *)(ip + 4) ? 40 + bpf_ntohs(*(__be16 *)(ip + 4)) : skb->len - p->l2len;
}
#else
static __always_inline __u32 tee_header(struct __sk_buff *skb, struct bt_pkt *p, const struct bt_tee_job *job, struct bpf_fib_lookup *f)
{
	__u8 ip[12];

	if (bpf_skb_load_bytes(skb, p->l2len, ip, sizeof(ip)))
		return 0;
	f->tos = ip[1] & INET_DSCP_MASK;
	f->ipv4_dst = job->gateway;
	if (ip_word(skb, p, 6, *(__be16 *)(ip + 6) | bpf_htons(0x4000)))
		return 0;
	if (job->flags & TEE_HOPS) {
		ip[8]--;
		if (ip_word(skb, p, 8, *(__be16 *)(ip + 8)))
			return 0;
	}
	return *(__be16 *)(ip + 2) ? bpf_ntohs(*(__be16 *)(ip + 2)) : skb->len - p->l2len;
}
#endif

/* A copy whose turn has come: the redirect to where it leaves. */
static __noinline int tee_send(struct __sk_buff *skb, struct bt_control *ctl, __u32 l2len, __u32 number)
{
	struct bt_tee_job *found = tee_job(number % TEE_JOBS), job;
	struct bpf_redir_neigh nh = {};
	struct bpf_fib_lookup f = {};
	struct bt_pkt *p = pkt();
	__u8 eth[ETH_HLEN] = { [12] = BT_ETH_P >> 8, [13] = BT_ETH_P & 255 };
	__u32 len, ifindex, mtu, flags = 0;

	if (!p || !found)
		return BT_DROP;
	job = *found;
	/* Read behind the rest. */
	job.number = __sync_fetch_and_add(&found->number, 0);
	p->token = 0;
	p->l2len = l2len;
	if (job.number != number || !(len = tee_header(skb, p, &job, &f)))
		goto lost;
	/* What is behind the packet's end. */
	if (!skb->gso_size && skb->len > l2len + len && bpf_skb_change_tail(skb, l2len + len, 0))
		goto lost;
	f.family = nh.nh_family = BT_AF;
	f.ifindex = job.oif ? job.oif : ctl->lo_ifindex;
	switch (bpf_fib_lookup(skb, &f, sizeof(f), FIB_SKIP_NEIGH | (job.oif ? BPF_FIB_LOOKUP_OUTPUT : 0))) {
	case BPF_FIB_LKUP_RET_SUCCESS:
	case BPF_FIB_LKUP_RET_NO_NEIGH:
		ifindex = f.ifindex;
		nh.nh_family = f.family;
		__builtin_memcpy(nh.ipv6_nh, f.ipv6_dst, 16);
		break;
	default:
		/* By a named device it goes also where no route leads by it (or none that this lookup tells). */
		if (!job.oif)
			goto lost;
		ifindex = job.oif;
		__builtin_memcpy(nh.ipv6_nh, &job.gateway, sizeof(job.gateway));
	}
	mtu = len;
	if (skb->gso_size) {
		mtu = 0;
		flags = BPF_MTU_CHK_SEGS;
	}
	if (bpf_check_mtu(skb, ifindex, &mtu, 0, flags))
		goto lost;
	if ((!l2len && bpf_skb_change_head(skb, ETH_HLEN, 0)) || bpf_skb_store_bytes(skb, 0, eth, sizeof(eth), 0) ||
	    bpf_skb_change_type(skb, PACKET_HOST))
		goto lost;
	skb->priority = job.priority;
	mark_injected(skb, ctl, INJ_TEE_OUT | (job.flags & TEE_TRACED ? 1 << 24 : 0), 0);
	return bpf_redirect_neigh(ifindex, &nh, sizeof(nh), 0);
lost:
	stat_add(STAT_COPY_LOST);
	return BT_DROP;
}
