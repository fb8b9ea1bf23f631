/* SPDX-License-Identifier: GPL-2.0-only */
/* What IPsec keeps of a packet and of its way, as the programs and the guard read it. */
#pragma once

#include "kernel_bridge.h"

/* Whether something was unwrapped around the packet; `active`: its active_extensions. */
static __always_inline bool was_unwrapped(__u8 active)
{
	return bpf_core_enum_value_exists(enum skb_ext_id, SKB_EXT_SEC_PATH) &&
	       active >> bpf_core_enum_value(enum skb_ext_id, SKB_EXT_SEC_PATH) & 1;
}

/* Address of what the kernel notes about that (struct sec_path), 0 if it can't be read; `skb` is a kernel address. To be asked where was_unwrapped() holds. */
static __always_inline unsigned long unwrapped_by(void *skb)
{
	return extension(skb, bpf_core_enum_value(enum skb_ext_id, SKB_EXT_SEC_PATH));
}
