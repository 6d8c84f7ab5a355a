/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The API for kernel modules: publish events to user space.
 *
 *	#include "nlbus.h"
 *	#include "tick.h"			// Topic.c_header() of Python
 *
 *	struct nlbus_tick tick = { .id = 1 };
 *
 *	nlbus_register_type(NLBUS_TICK_TYPE, NLBUS_TICK_FINGERPRINT);	// module init
 *	nlbus_publish(&init_net, NLBUS_TICK_GROUPS, NLBUS_TICK_TYPE, &tick, sizeof(tick));
 *	nlbus_unregister_type(NLBUS_TICK_TYPE);				// module exit
 *
 * Any context may publish, NMI and tracepoints included, wherever RCU is watching. The event is
 * copied into a buffer of this CPU and network namespace; a worker numbers, packs and broadcasts
 * it. Publishing allocates nothing, takes no lock and wakes no task in the caller's context.
 *
 * The caller keeps @net alive: it holds a reference, or has pernet operations of its own, which
 * exit before those of nlbus.
 *
 * Events of one CPU for the same groups keep their order.
 */
#ifndef _NLBUS_H
#define _NLBUS_H

#include <linux/types.h>
#include "uapi/nlbus.h"

struct net;

/* Largest event in bytes. */
#define NLBUS_MAX_EVENT \
	((u32)(NLBUS_MAX_DATAGRAM - NLMSG_HDRLEN - sizeof(struct nlbus_batch)))

int nlbus_publish(struct net *net, u32 groups, u32 type, const void *data, u32 len);
void *nlbus_reserve(struct net *net, u32 groups, u32 type, u32 len);
void nlbus_commit(void *event);
void nlbus_discard(void *event);
bool nlbus_listening(struct net *net, u32 groups);

int nlbus_register_type(u32 type, u64 fingerprint);
void nlbus_unregister_type(u32 type);

#endif /* _NLBUS_H */
