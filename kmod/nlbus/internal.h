/* SPDX-License-Identifier: GPL-2.0 */
/*
 * nlbus.ko inside: the way of an event.
 *
 *	ring.c		a publisher copies it into the ring of its CPU and namespace
 *	worker.c	the namespace's worker takes it out, finds its stream ...
 *	pending.c	... puts it behind others in the stream's pending datagram ...
 *	send.c		... which is numbered and broadcast
 *	input.c		datagrams of user space, checked and handed on to send.c
 *	control.c	parameters and statistics by netlink
 *	main.c		module parameters, and what a namespace has of all this
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

#include "nlbus.h"

#define NLBUS_HEAD		(NLMSG_HDRLEN + sizeof(struct nlbus_batch))
#define NLBUS_MIN_BUFFER	SZ_64K	/* the largest event fits, wherever the ring wraps */
#define NLBUS_MAX_BUFFER	SZ_64M
#define NLBUS_LOST		32	/* masks whose losses a ring tells apart */
#define NLBUS_STREAMS		256

/**
 * struct nlbus_record - what stands before an event in a ring
 * @size:	bytes to the next record
 * @groups:	mask; 0: nothing to publish
 * @type:	the event's
 * @len:	bytes of the event
 * @time_ns:	when it was committed, or shortly before
 * @ring:	the ring that it is in, until then
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

/* Events of one mask that a full ring did not take: @count ever, of which the worker has dealt with @seen. */
struct nlbus_lost {
	u32 groups;
	local_t count;
	unsigned long seen;
};

/**
 * struct nlbus_ring - events of one CPU on their way to the worker
 * @head:	where the next record goes
 * @seen:	@tail, when we last had to look
 * @nest:	publishers at work, each one interrupting those before
 * @clock_ns:	CLOCK_REALTIME, when they last looked
 * @clock_tick:	jiffies then
 * @clock_at:	@head then
 * @lost_all:	events that were not taken
 * @lost:	the same by their masks
 * @lost_other:	those of further masks
 * @committed:	records before it are complete
 * @wake_at:	publishers call the worker when @committed gets beyond it
 * @tail:	records before it have been taken out
 * @lost_seen:	as much of @lost_all has been dealt with
 * @other_seen:	as much of @lost_other
 * @kick:	calls the worker
 * @nn:		the namespace's
 * @data:	the records
 * @size:	bytes of @data, a power of two
 *
 * All positions count bytes from the beginning and wrap only where unsigned long does.
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
	struct nlbus_lost lost[NLBUS_LOST];
	/* Both sides. */
	unsigned long committed ____cacheline_aligned_in_smp;
	unsigned long wake_at;
	struct irq_work kick;
	/* The worker. */
	unsigned long tail ____cacheline_aligned_in_smp;
	unsigned long lost_seen;
	unsigned long other_seen;
	/* Nobody changes these. */
	struct nlbus_net *nn ____cacheline_aligned_in_smp;
	u8 *data;
	unsigned long size;
};

/* What a publisher touches first. */
struct nlbus_cpu {
	struct nlbus_ring __rcu *ring;
	unsigned long skipped[NLBUS_GROUPS];
};

/**
 * struct nlbus_pending - the datagram that a stream is filling
 * @skb:	its memory; NULL: nothing is pending
 * @limit:	bytes that it may have
 * @at:		bytes of complete batches, behind which the open one stands
 * @newest:	where the newest complete one starts
 * @events:	in the complete ones
 * @head:	of the open batch
 * @count:	events in the open batch; 0: none is open
 * @bytes:	of event data in the open batch
 * @fast:	so many events more surely fit, if they are like the last one
 * @varying:	its events differ in length
 * @timed:	each of its events has a time
 * @ends:	where each of them ends; kept if @varying
 * @times:	nanoseconds since head.time_ns; kept if @timed
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
 * @groups:	that set
 * @dirty:	no heartbeat yet has told how far it has come
 * @instance:	random
 * @next_seq:	number of its next event
 * @next_dgram:	number of its next datagram
 * @used:	when it was last looked for, in ticks of the table
 * @due_ns:	when @pending must go, CLOCK_MONOTONIC
 * @moved_ns:	when its numbers last changed
 * @usual:	bytes of its last datagram
 * @pending:	the datagram that it is filling
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

/* The streams of a namespace, found by their groups: open addressing, 0 is empty, else position + 1. */
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
 * @listeners:	groups that may have subscribers
 * @cpu:	the publishers' part
 * @net:	the namespace
 * @sk:		its kernel socket
 * @chain_bytes: parameter, see uapi
 * @linger_us:	parameter
 * @setup:	the first subscriber allocates the rings, under this
 * @bind_lock:	for changes of @listeners
 * @bound_ns:	when a subscriber last joined
 * @work:	drains the rings
 * @timer:	starts @work when it must run without being called
 * @timer_ns:	when that will be; 0: not
 * @closing:	arm no timer any more
 * @streams:	the worker's; allocated with the rings
 * @stats:	by group
 * @overflow:	events lost in full rings
 * @nomem:	events lost for lack of memory
 * @refused:	datagrams of user space
 * @evicted:	streams
 */
struct nlbus_net {
	u32 listeners;
	struct nlbus_cpu __percpu *cpu;

	struct net *net;
	struct sock *sk;
	u32 chain_bytes;
	u32 linger_us;
	struct mutex setup;	/* while rings and streams are allocated */
	spinlock_t bind_lock;	/* when listeners change */
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

/* The lowest group of a mask, from 1, which is taken out of the mask. */
static inline unsigned int nlbus_next_group(u32 *groups)
{
	unsigned int group = __ffs(*groups) + 1;

	*groups &= *groups - 1;
	return group;
}

/* main.c */
struct sock *nlbus_sock(struct net *net);

/* ring.c */
int nlbus_rings_alloc(struct nlbus_net *nn);
void nlbus_rings_sync(struct nlbus_net *nn);
void nlbus_rings_free(struct nlbus_net *nn);
struct nlbus_ring *nlbus_ring_of(struct nlbus_net *nn, unsigned int cpu);

/* worker.c */
void nlbus_work(struct work_struct *work);
enum hrtimer_restart nlbus_timer(struct hrtimer *timer);
void nlbus_streams_free(struct nlbus_net *nn);

/* pending.c */
int nlbus_pending_add(struct nlbus_pending *p, const struct nlbus_record *event, u32 room, u32 chain_bytes,
		      bool timed);
u32 nlbus_pending_seal(struct nlbus_pending *p, const struct nlbus_stream *s);
bool nlbus_pending_again(struct nlbus_pending *p, const struct nlbus_record *event);
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
