/* SPDX-License-Identifier: GPL-2.0-only */
/* Checks of what a connection carries: connbytes, connlabel, helper. Include ct.h first. */
#pragma once

#include "bt.h"
#include "ops_arg.h"

enum bt_connbytes_mode { CONNBYTES_PACKETS, CONNBYTES_BYTES, CONNBYTES_AVERAGE };
enum bt_connbytes_dir { CONNBYTES_ORIGINAL, CONNBYTES_REPLY, CONNBYTES_BOTH };

/* `a`: mode | direction << 8. The line at `at`: two bounds; if the second is the lower, what is outside of them holds. */
__noinline int bt_op_connbytes(struct __sk_buff *skb, __u32 a, __u32 at)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	struct bt_conn *ct;
	struct bt_acct *acct;
	__u64 packets = 0, bytes = 0, what, from, to;
	__u32 mode = a & 255, dir = a >> 8 & 255;

	if (!p)
		return -1;
	ct = bt_conn_of(p);
	if (!ct || !(ct->status & ST_ACCT))
		return 0;
	acct = ct_acct_at(p->ct - 1);
	void *img = image(p->slot);
	__u64 *bounds = img ? (void *)line(img, at) : NULL;
	if (!acct || !bounds)
		return -1;
	if (dir != CONNBYTES_REPLY) {
		packets = acct->packets[0];
		bytes = acct->bytes[0];
	}
	if (dir != CONNBYTES_ORIGINAL) {
		packets += acct->packets[1];
		bytes += acct->bytes[1];
	}
	what = mode == CONNBYTES_PACKETS ? packets : mode == CONNBYTES_BYTES ? bytes : packets ? bytes / packets : 0;
	from = bounds[0];
	to = bounds[1];
	if (to >= from)
		return what >= from && what <= to;
	return what < to || what > from;
}

/* Label `bit`, set by the check itself if `set` says so. A connection that was made before any rule asked for labels has none. */
__noinline int bt_op_connlabel(struct __sk_buff *skb, __u32 how, __u32 bit, __u32 set)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	struct bt_conn *ct;
	__u64 *word, mask = 1ULL << (bit & 63);

	if (!p)
		return -1;
	ct = bt_conn_of(p);
	if (!ct || !(ct->status & ST_LABELS))
		return !!(how & OPF_INVERT);
	word = bit & 64 ? &CT_LABELS(ct)[1] : &CT_LABELS(ct)[0];
	bool has = *word & mask;
	if (!has && set) {
		__sync_fetch_and_or(word, mask);
		has = true;
	}
	return has != (how & OPF_INVERT);
}
