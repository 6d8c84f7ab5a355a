/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Internals of nlbus.ko: the path of an event.
 *
 *	ring.c		a publisher copies it into the ring of its CPU and namespace
 *	rings.c		the rings of a namespace are allocated and freed
 *	worker.c	the namespace's worker takes it out of the ring
 *	stream.c	its stream numbers it
 *	pending.c	the stream's pending datagram packs it behind others
 *	send.c		the datagram is broadcast to its groups
 *	types.c		fingerprints of event types
 *	input.c		datagrams from user space are checked and passed to send.c
 *	control.c	parameters and statistics by netlink
 *	main.c		module parameters, setup of a namespace
 */
#ifndef _NLBUS_INTERNAL_H
#define _NLBUS_INTERNAL_H

#include <linux/atomic.h>
#include <linux/hrtimer.h>
#include <linux/irq_work.h>
#include <linux/mutex.h>
#include <linux/netlink.h>
#include <linux/percpu.h>
#include <linux/skbuff.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>
#include <net/net_namespace.h>
#include <net/netns/generic.h>
#include <net/sock.h>

#include <asm/local.h>

#include "../nlbus.h"

#define NLBUS_HEAD		(NLMSG_HDRLEN + sizeof(struct nlbus_batch))
#define NLBUS_MIN_BUFFER	SZ_64K	/* the largest event fits wherever the ring wraps */
#define NLBUS_MAX_BUFFER	SZ_64M
#define NLBUS_LOST		1024	/* masks whose losses a ring counts at a time */
#define NLBUS_STREAMS		256

/**
 * struct nlbus_record - an event in a ring
 * @size:	bytes to the next record
 * @groups:	mask of destination groups; 0: padding, or a dropped event
 * @type:	event type
 * @len:	length of @data in bytes
 * @time_ns:	time of the commit, or shortly before
 * @ring:	the ring that holds the record, until the commit
 * @data:	the event
 */
struct nlbus_record {
	u32 size;
	u32 groups;
	u32 type;
	u32 len;
	union {
		u64 time_ns;
		struct nlbus_ring *ring;
	};
	u8 data[];
};

/**
 * struct nlbus_ring - events of one CPU on their way to the worker
 * @head:	end of the newest record
 * @seen:	publishers' copy of @tail, refreshed when the ring looks full
 * @nest:	active publishers, each interrupting the one before
 * @clock_ns:	CLOCK_REALTIME when it was last read
 * @clock_tick:	jiffies at that time
 * @clock_at:	@head at that time
 * @lost_all:	refused events
 * @lost:	refused events by mask, a hash that the worker empties: mask << 32 | count, or 0
 * @lost_other:	refused events of masks that found no slot in @lost
 * @committed:	end of the newest complete record
 * @wake_at:	publishers wake the worker when @committed exceeds it
 * @tail:	start of the oldest record that the worker has not read
 * @lost_seen:	part of @lost_all that the worker has handled
 * @other_seen:	part of @lost_other that the worker has handled
 * @kick:	wakes the worker
 * @nn:		the ring's namespace
 * @data:	the records
 * @size:	bytes of @data, a power of two
 *
 * Positions count bytes since the ring was allocated and wrap with unsigned long.
 */
struct nlbus_ring {
	/* Publishers, all on one CPU. */
	unsigned long head;
	unsigned long seen;
	unsigned int nest;
	u64 clock_ns;
	unsigned long clock_tick;
	unsigned long clock_at;
	local_t lost_all;
	local_t lost_other;
	/* Both sides. */
	unsigned long committed ____cacheline_aligned_in_smp;
	unsigned long wake_at;
	struct irq_work kick;
	/* The worker. */
	unsigned long tail ____cacheline_aligned_in_smp;
	unsigned long lost_seen;
	unsigned long other_seen;
	/* Constant. */
	struct nlbus_net *nn ____cacheline_aligned_in_smp;
	u8 *data;
	unsigned long size;
	atomic64_t *lost;
};

/* What a publisher reads first. */
struct nlbus_cpu {
	struct nlbus_ring __rcu *ring;
	unsigned long skipped[NLBUS_GROUPS];
};

/**
 * struct nlbus_pending - the datagram that a stream is filling
 * @skb:	its memory; NULL: nothing is pending
 * @limit:	largest size in bytes
 * @at:		end of the complete batches, where the open one starts
 * @newest:	start of the newest complete batch
 * @events:	events in complete batches
 * @head:	header of the open batch
 * @count:	events in the open batch; 0: none is open
 * @bytes:	bytes of events in the open batch
 * @fast:	events that still fit if they are like the last one
 * @varying:	events of the open batch differ in length
 * @timed:	every event of the open batch has a time
 * @ends:	end of each event; used if @varying
 * @times:	nanoseconds since head.time_ns per event; used if @timed
 */
struct nlbus_pending {
	struct sk_buff *skb;
	u32 limit;
	u32 at;
	u32 newest;
	u32 events;
	struct nlbus_batch head;
	u32 count;
	u32 bytes;
	u32 fast;
	bool varying;
	bool timed;
	u32 *ends;
	u32 *times;
};

/**
 * struct nlbus_stream - all events of the kernel for one exact set of groups
 * @groups:	mask of these groups
 * @dirty:	numbers changed since the last heartbeat
 * @instance:	random
 * @next_seq:	number of the next event
 * @next_dgram:	number of the next datagram
 * @used:	last use, in ticks of the table
 * @due_ns:	deadline to send @pending, CLOCK_MONOTONIC
 * @moved_ns:	time of the last change of the numbers
 * @usual:	bytes of the last datagram
 * @pending:	the datagram being filled
 */
struct nlbus_stream {
	u32 groups;
	bool dirty;
	u64 instance;
	u64 next_seq;
	u64 next_dgram;
	u64 used;
	u64 due_ns;
	u64 moved_ns;
	u32 usual;
	struct nlbus_pending pending;
};

/* The streams of a namespace. @index is a hash of their groups: 0 is empty, else position + 1. */
struct nlbus_streams {
	u64 ticks;
	u32 count;
	u16 index[2 * NLBUS_STREAMS];
	struct nlbus_stream all[NLBUS_STREAMS];
};

struct nlbus_group_stats {
	atomic64_t events;
	atomic64_t bytes;
	atomic64_t datagrams;
	atomic64_t skipped;
	atomic64_t failed;
	atomic64_t overflow;
};

/**
 * struct nlbus_net - nlbus in one network namespace
 * @listeners:	mask of groups that may have subscribers
 * @cpu:	the publishers' part
 * @net:	the namespace
 * @sk:		its kernel socket
 * @chain_bytes: parameter, see uapi
 * @linger_us:	parameter, see uapi
 * @setup:	serializes the allocation of rings and streams
 * @bind_lock:	protects @listeners
 * @bound_ns:	time of the last bind
 * @work:	drains the rings
 * @timer:	queues @work when a deadline comes
 * @timer_ns:	that deadline; 0: the timer is idle
 * @closing:	do not arm @timer any more
 * @streams:	used by @work only; allocated with the rings
 * @stats:	per group
 * @overflow:	events lost in full rings
 * @nomem:	events lost for lack of memory
 * @refused:	datagrams refused from user space
 * @evicted:	streams evicted
 */
struct nlbus_net {
	u32 listeners;
	struct nlbus_cpu __percpu *cpu;

	struct net *net;
	struct sock *sk;
	u32 chain_bytes;
	u32 linger_us;
	struct mutex setup;	/* allocation of rings and streams */
	spinlock_t bind_lock;	/* listeners, bound_ns */
	u64 bound_ns;

	struct work_struct work;
	struct hrtimer timer;
	u64 timer_ns;
	bool closing;
	struct nlbus_streams *streams;

	struct nlbus_group_stats stats[NLBUS_GROUPS];
	atomic64_t overflow;
	atomic64_t nomem;
	atomic64_t refused;
	atomic64_t evicted;
};

extern unsigned int nlbus_net_id;
extern unsigned int nlbus_buffer_bytes;
extern bool nlbus_open_receive;
extern struct workqueue_struct *nlbus_wq;

static inline struct nlbus_net *nlbus_pernet(const struct net *net)
{
	return net_generic(net, nlbus_net_id);
}

/* Remove the lowest group from a mask and return it, from 1. */
static inline unsigned int nlbus_next_group(u32 *groups)
{
	unsigned int group = __ffs(*groups) + 1;

	*groups &= *groups - 1;
	return group;
}

/* main.c */
struct sock *nlbus_sock(struct net *net);

/* rings.c */
int nlbus_rings_alloc(struct nlbus_net *nn);
void nlbus_rings_sync(struct nlbus_net *nn);
void nlbus_rings_free(struct nlbus_net *nn);
struct nlbus_ring *nlbus_ring_of(struct nlbus_net *nn, unsigned int cpu);

/* worker.c */
void nlbus_work(struct work_struct *work);
enum hrtimer_restart nlbus_timer(struct hrtimer *timer);

/* stream.c */
struct nlbus_stream *nlbus_stream_append(struct nlbus_net *nn, const struct nlbus_record *event,
					 unsigned long behind);
void nlbus_stream_lose(struct nlbus_net *nn, u32 groups, u32 count);
void nlbus_streams_lose(struct nlbus_net *nn, unsigned long count);
u64 nlbus_streams_flush(struct nlbus_net *nn, bool *lingers);
void nlbus_streams_free(struct nlbus_net *nn);

/* pending.c */
int nlbus_pending_add(struct nlbus_pending *p, const struct nlbus_record *event, u32 room,
		      u32 chain_bytes, bool timed);
u32 nlbus_pending_seal(struct nlbus_pending *p, const struct nlbus_stream *s);
bool nlbus_pending_add_same(struct nlbus_pending *p, const struct nlbus_record *event);
void nlbus_pending_free(struct nlbus_pending *p);
void nlbus_put_head(void *at, struct nlbus_batch *head, u32 body_len);

/* types.c */
u64 nlbus_fingerprint(u32 type);
void nlbus_types_free(void);

/* send.c */
int nlbus_fan_out(struct nlbus_net *nn, struct sk_buff *skb, u32 groups, u32 events);

/* input.c */
void nlbus_input(struct sk_buff *skb);

/* control.c */
int nlbus_control(struct sk_buff *skb, struct nlmsghdr *nlh, struct netlink_ext_ack *extack);

#endif /* _NLBUS_INTERNAL_H */
