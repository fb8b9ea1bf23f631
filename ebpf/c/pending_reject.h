/* SPDX-License-Identifier: GPL-2.0-only */
/* Until reject.h and mtu.h have landed: drop. */
#pragma once
#include "bt.h"
__noinline int bt_reject(struct __sk_buff *skb) { return skb->len ? BT_DROP : BT_NEXT; }
__noinline int bt_mtu(struct __sk_buff *skb, __u32 i) { return skb->len + i ? BT_NEXT : BT_DROP; }
