/* SPDX-License-Identifier: GPL-2.0-only */
/* What goes along with a packet from the program where it comes in to the one where it leaves, in its queue's number, which no device has so
 * high: that it is traced, and, where skb->hash holds its link address, that it belongs to no connection, or is one's reply. */
#pragma once

#include "bt.h"

#define NOTED 0x7450u
#define NOTED_TRACED 1u
#define NOTED_INVALID 2u
#define NOTED_UNTRACKED 4u
#define NOTED_REPLY 8u
#define NOTED_ANY 15u

static __always_inline bool notes(const struct bt_pkt *p)
{
	return p->img_flags & (IMG_TRACE | IMG_MAC);
}

static __always_inline bool has_note(struct __sk_buff *skb)
{
	return (skb->queue_mapping & ~NOTED_ANY) == NOTED;
}

static __always_inline void note_carry(struct __sk_buff *skb, struct bt_pkt *p)
{
	__u32 note = p->traced ? NOTED_TRACED : 0;

	if (p->img_flags & IMG_MAC && p->img_flags & IMG_CONNTRACK) {
		if (p->ct)
			note |= p->ctdir ? NOTED_REPLY : 0;
		else
			note |= p->ctinfo == CI_UNTRACKED ? NOTED_UNTRACKED : NOTED_INVALID;
	}
	if (note)
		skb->queue_mapping = NOTED | note;
	else if (has_note(skb))
		skb->queue_mapping = 0; /* not of this host's programs */
}

static __always_inline void note_take(struct __sk_buff *skb, struct bt_pkt *p)
{
	if (!has_note(skb))
		return;
	p->noted = skb->queue_mapping & NOTED_ANY;
	p->traced = p->noted & NOTED_TRACED;
	skb->queue_mapping = 0;
}
