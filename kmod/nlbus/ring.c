// SPDX-License-Identifier: GPL-2.0
/*
 * The publishers' side: one ring per CPU and network namespace.
 *
 * All publishers of a ring run on its CPU with preemption disabled, so they nest: an interrupt or
 * NMI that publishes finishes before the publisher that it interrupted continues. No other locking
 * is needed. A publisher claims space by moving @head. When the outermost publisher finishes, all
 * records before @head are complete, and @committed makes them visible to the worker.
 */
#include <linux/err.h>
#include <linux/jiffies.h>
#include <linux/ktime.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>

#include "internal.h"

/* Events within this many bytes of a ring may share one timestamp. */
#define RING_CLOCK_BYTES	SZ_4K

/* A cheaper net_generic(): RCU also waits for sections with preemption disabled. */
static struct nlbus_net *ring_pernet(const struct net *net)
{
	return rcu_dereference_sched(net->gen)->ptr[nlbus_net_id];
}

/* Nobody listens: the fate of most events of most modules. */
static __always_inline int ring_skip(struct nlbus_net *nn, u32 groups)
{
	u32 left = groups;

	while (left)
		this_cpu_inc(nn->cpu->skipped[nlbus_next_group(&left) - 1]);
	return groups ? -ESRCH : -EINVAL;
}

static __always_inline bool ring_listening(const struct nlbus_net *nn, u32 groups)
{
	return READ_ONCE(nn->listeners) & groups;
}

/* Wake the worker from any context, NMI included. */
static noinline void ring_kick(struct nlbus_ring *ring)
{
	/* Once is enough: the worker moves @wake_at back before it sleeps. */
	WRITE_ONCE(ring->wake_at, ring->head + LONG_MAX);
	irq_work_queue(&ring->kick);
}

static __always_inline void ring_enter(struct nlbus_ring *ring)
{
	WRITE_ONCE(ring->nest, ring->nest + 1);
	barrier();
}

static __always_inline void ring_leave(struct nlbus_ring *ring)
{
	unsigned int nest = READ_ONCE(ring->nest);
	unsigned long head;

	barrier();
	if (nest > 1) {
		WRITE_ONCE(ring->nest, nest - 1);
		return;
	}
	do {
		/* Until the section ends, a nested publisher relies on us to wake the worker. */
		WRITE_ONCE(ring->nest, 1);
		barrier();
		head = READ_ONCE(ring->head);
		/* Records before @committed; pairs with the acquire in worker_drain(). */
		smp_store_release(&ring->committed, head);
		barrier();
		WRITE_ONCE(ring->nest, 0);
		barrier();
	} while (unlikely(head != READ_ONCE(ring->head)));

	/* Publish @committed, then read @wake_at; pairs with smp_mb() in worker_sleep(). */
	smp_mb();
	if ((long)(head - READ_ONCE(ring->wake_at)) > 0)
		ring_kick(ring);
}

/* Count a loss in the first slot that is empty or has this mask and can count further. */
static bool ring_count_by_mask(struct nlbus_ring *ring, u32 groups)
{
	unsigned int first = (groups * 0x9e3779b1U) >> 22, i;
	u64 mask = (u64)groups << 32;
	atomic64_t *slot;
	s64 old;

	BUILD_BUG_ON(NLBUS_LOST != 1 << (32 - 22));
	/* These atomics take a lock, which the NMI may have interrupted. */
	if (IS_ENABLED(CONFIG_GENERIC_ATOMIC64) && in_nmi())
		return false;
	for (i = 0; i < NLBUS_LOST; i++) {
		slot = &ring->lost[(first + i) % NLBUS_LOST];
		old = atomic64_read(slot);
		while (!old || ((u64)old >= mask && (u64)old < mask + U32_MAX))
			if (atomic64_try_cmpxchg(slot, &old, (old ?: mask) + 1))
				return true;
	}
	return false;
}

/* The ring is full: the worker turns the loss into a gap of the mask's stream. */
static noinline void ring_count_lost(struct nlbus_ring *ring, u32 groups)
{
	if (!ring_count_by_mask(ring, groups))
		local_inc(&ring->lost_other);
	/* The parts before the sum; pairs with smp_rmb() in worker_take_lost(). */
	smp_wmb();
	local_inc(&ring->lost_all);
	/* As in ring_leave(): a worker that went to sleep meanwhile must notice the loss. */
	smp_mb();
	if ((long)(READ_ONCE(ring->wake_at) - ring->head) < LONG_MAX / 2)
		ring_kick(ring);
}

static __always_inline struct nlbus_record *ring_claim(struct nlbus_ring *ring, u32 size)
{
	struct nlbus_record *record;
	unsigned long head, at, pad;

	do {
		head = READ_ONCE(ring->head);
		at = head & (ring->size - 1);
		pad = ring->size - at < size ? ring->size - at : 0;
		if (head + pad + size - READ_ONCE(ring->seen) > ring->size) {
			/* The worker has read the old records; pairs with worker_drain(). */
			WRITE_ONCE(ring->seen, smp_load_acquire(&ring->tail));
			if (head + pad + size - READ_ONCE(ring->seen) > ring->size)
				return NULL;
		}
	} while (cmpxchg_local(&ring->head, head, head + pad + size) != head);

	record = (struct nlbus_record *)(ring->data + at);
	if (pad) {
		/* The end of the ring may have room for these two fields only. */
		record->size = pad;
		record->groups = 0;
		record = (struct nlbus_record *)ring->data;
	}
	record->size = size;
	return record;
}

/* Somebody listens. Preemption is disabled, and the ring is ours until ring_commit(). */
static __always_inline void *ring_reserve(struct nlbus_net *nn, u32 groups, u32 type, u32 len)
{
	struct nlbus_ring *ring = rcu_dereference_sched(this_cpu_ptr(nn->cpu)->ring);
	struct nlbus_record *record;

	if (unlikely(len > NLBUS_MAX_EVENT))
		return ERR_PTR(-EMSGSIZE);
	/* The first subscriber is just joining: its bit was visible before its rings. */
	if (unlikely(!ring))
		return ERR_PTR(ring_skip(nn, groups));
	ring_enter(ring);
	record = ring_claim(ring, ALIGN(sizeof(*record) + len, 8));
	if (unlikely(!record)) {
		ring_count_lost(ring, groups);
		ring_leave(ring);
		return ERR_PTR(-ENOBUFS);
	}
	record->groups = groups;
	record->type = type;
	record->len = len;
	record->ring = ring;
	return record->data;
}

static noinline u64 ring_read_clock(struct nlbus_ring *ring, unsigned long tick, unsigned long head)
{
	u64 now = ktime_get_real_fast_ns();

	/* A nested publisher must not change what the outer one is reading. */
	if (READ_ONCE(ring->nest) == 1) {
		ring->clock_ns = now;
		ring->clock_tick = tick;
		ring->clock_at = head;
	}
	return now;
}

/*
 * When this event was published. Reading the clock costs more than the rest of the call, and a
 * batch carries the time of its first event only. So one reading serves several events of a tick,
 * unless the worker sleeps (this event starts a batch) or every event carries its own time.
 */
static __always_inline u64 ring_event_time(struct nlbus_ring *ring)
{
	unsigned long tick = READ_ONCE(jiffies), head = READ_ONCE(ring->head);

	if (READ_ONCE(ring->nest) == 1 && tick == ring->clock_tick &&
	    head - ring->clock_at < RING_CLOCK_BYTES &&
	    (long)(head - READ_ONCE(ring->wake_at)) <= 0 && !READ_ONCE(ring->nn->linger_us))
		return ring->clock_ns;
	return ring_read_clock(ring, tick, head);
}

static __always_inline void ring_commit(void *event)
{
	struct nlbus_record *record = container_of(event, struct nlbus_record, data[0]);
	struct nlbus_ring *ring = record->ring;

	record->time_ns = ring_event_time(ring);
	ring_leave(ring);
}

static noinline int ring_publish(struct nlbus_net *nn, u32 groups, u32 type, const void *data,
				 u32 len)
{
	void *event = ring_reserve(nn, groups, type, len);

	if (IS_ERR(event))
		return PTR_ERR(event);
	memcpy(event, data, len);
	ring_commit(event);
	return 0;
}

/**
 * nlbus_publish() - publish an event
 * @net: network namespace to publish in
 * @groups: mask of destination groups: bit g - 1 is group g
 * @type: event type, chosen by the publisher
 * @data: the event
 * @len: its length in bytes, at most NLBUS_MAX_EVENT
 *
 * Context: Any, NMI included.
 *
 * Subscribers see the exact losses of each mask, unless a CPU loses events for more than 1024 masks
 * before the worker runs: those of further masks then count in every stream.
 *
 * Return: 0; -ESRCH if nobody listens; -ENOBUFS if the buffer is full, which subscribers see as
 * lost events; -EINVAL if @groups is 0; -EMSGSIZE if @len is too large. The module counts events
 * that return -ESRCH or -ENOBUFS.
 */
int nlbus_publish(struct net *net, u32 groups, u32 type, const void *data, u32 len)
{
	struct nlbus_net *nn;
	int err;

	preempt_disable_notrace();
	nn = ring_pernet(net);
	if (unlikely(ring_listening(nn, groups)))
		err = ring_publish(nn, groups, type, data, len);
	else
		err = ring_skip(nn, groups);
	preempt_enable_notrace();
	return err;
}
EXPORT_SYMBOL_GPL(nlbus_publish);

/**
 * nlbus_reserve() - reserve room for an event, to write it in place
 * @net: network namespace to publish in
 * @groups: mask of destination groups
 * @type: event type
 * @len: its length in bytes, at most NLBUS_MAX_EVENT
 *
 * The room is zeroed. The caller writes the event, then calls nlbus_commit() or nlbus_discard().
 * Until then preemption is disabled and no event of this CPU is delivered, so be quick.
 *
 * Context: Any, NMI included.
 *
 * Return: the room, aligned to 8 bytes; NULL where nlbus_publish() would fail, with preemption
 * unchanged.
 */
void *nlbus_reserve(struct net *net, u32 groups, u32 type, u32 len)
{
	struct nlbus_net *nn;
	void *event;

	preempt_disable_notrace();
	nn = ring_pernet(net);
	if (unlikely(ring_listening(nn, groups)))
		event = ring_reserve(nn, groups, type, len);
	else
		event = ERR_PTR(ring_skip(nn, groups));
	/* What the caller leaves out must not show events of others, which the ring held before. */
	if (!IS_ERR(event))
		return memset(event, 0, len);
	preempt_enable_notrace();
	return NULL;
}
EXPORT_SYMBOL_GPL(nlbus_reserve);

/**
 * nlbus_commit() - publish a reserved event
 * @event: from nlbus_reserve()
 *
 * Context: That of nlbus_reserve().
 */
void nlbus_commit(void *event)
{
	ring_commit(event);
	preempt_enable_notrace();
}
EXPORT_SYMBOL_GPL(nlbus_commit);

/**
 * nlbus_discard() - drop a reserved event
 * @event: from nlbus_reserve()
 *
 * Context: That of nlbus_reserve().
 */
void nlbus_discard(void *event)
{
	container_of(event, struct nlbus_record, data[0])->groups = 0;
	ring_commit(event);
	preempt_enable_notrace();
}
EXPORT_SYMBOL_GPL(nlbus_discard);

/**
 * nlbus_listening() - check whether an event may have a subscriber
 * @net: network namespace
 * @groups: mask of destination groups
 *
 * A group counts as listening for some seconds after its last subscriber left.
 *
 * Context: Any, NMI included.
 *
 * Return: false if nlbus_publish() would return -ESRCH.
 */
bool nlbus_listening(struct net *net, u32 groups)
{
	bool any;

	preempt_disable_notrace();
	any = ring_listening(ring_pernet(net), groups);
	preempt_enable_notrace();
	return any;
}
EXPORT_SYMBOL_GPL(nlbus_listening);
