/* SPDX-License-Identifier: GPL-2.0-only */
/* Connection tracking. */
#pragma once

#include "ct_state.h"
