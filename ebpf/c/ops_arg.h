/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* For global functions: clang leaves undefined what callers pass in an argument that the function does not use; the verifier asks
 * for a context there all the same. */
#define keep_arg(v) asm volatile("" : : "r"(v))
