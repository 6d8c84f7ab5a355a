// SPDX-License-Identifier: GPL-2.0
/*
 * The publisher's side: a ring for each CPU and namespace.
 *
 * All publishers of a ring are on its CPU and have preemption off. So they nest:
 * an interrupt or NMI that publishes is through before the one that it
 * interrupted goes on. That is all the locking there is. Space is claimed by
 * moving @head; when the outermost publisher is through, all records up to @head
 * are complete, and @committed says so to the worker.
 */
#include <linux/err.h>
#include <linux/jiffies.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>

#include "internal.h"

/* Bytes of a ring whose events may have one time. */
#define CLOCK_BYTES	SZ_4K

/* As net_generic(), for publishers: cheaper, and their preemption is off, which RCU waits for as well. */
static struct nlbus_net *pernet_sched(const struct net *net)
{
	return rcu_dereference_sched(net->gen)->ptr[nlbus_net_id];
}

/* Most events of most modules end here: nobody listens. */
static __always_inline int skip(struct nlbus_net *nn, u32 groups)
{
	u32 left = groups;

	while (left)
		this_cpu_inc(nn->cpu->skipped[nlbus_next_group(&left) - 1]);
	return groups ? -ESRCH : -EINVAL;
}

static __always_inline bool listening(const struct nlbus_net *nn, u32 groups)
{
	return READ_ONCE(nn->listeners) & groups;
}

/* Have the worker called, from NMI even. */
static noinline void kick(struct nlbus_ring *ring)
{
	/* Not again: it says itself when it goes to sleep. */
	WRITE_ONCE(ring->wake_at, ring->head + LONG_MAX);
	irq_work_queue(&ring->kick);
}

static __always_inline void enter(struct nlbus_ring *ring)
{
	WRITE_ONCE(ring->nest, ring->nest + 1);
	barrier();
}

static __always_inline void leave(struct nlbus_ring *ring)
{
	unsigned int nest = READ_ONCE(ring->nest);
	unsigned long head;

	barrier();
	if (nest > 1) {
		WRITE_ONCE(ring->nest, nest - 1);
		return;
	}
	do {
		/* Who interrupts us up to the end of this section, leaves it to us to tell the worker. */
		WRITE_ONCE(ring->nest, 1);
		barrier();
		head = READ_ONCE(ring->head);
		/* The records before their announcement; pairs with the acquire in nlbus_drain(). */
		smp_store_release(&ring->committed, head);
		barrier();
		WRITE_ONCE(ring->nest, 0);
		barrier();
	} while (unlikely(head != READ_ONCE(ring->head)));

	/* Here we announce, then look whether the worker sleeps; pairs with the barrier in fall_asleep(). */
	smp_mb();
	if ((long)(head - READ_ONCE(ring->wake_at)) > 0)
		kick(ring);
}

/* The ring is full: count whom this concerns. Slots are claimed for ever, which needs no lock. */
static noinline void count_lost(struct nlbus_ring *ring, u32 groups)
{
	unsigned int first = (groups * 0x9e3779b1U) >> 27, i;
	struct nlbus_lost *slot;
	u32 owner;

	BUILD_BUG_ON(NLBUS_LOST != 1 << (32 - 27));
	for (i = 0; i < NLBUS_LOST; i++) {
		slot = &ring->lost[(first + i) % NLBUS_LOST];
		owner = READ_ONCE(slot->groups);
		if (!owner)
			owner = cmpxchg_local(&slot->groups, 0, groups) ?: groups;
		if (owner == groups) {
			local_inc(&slot->count);
			break;
		}
	}
	if (i == NLBUS_LOST)
		local_inc(&ring->lost_other);
	local_inc(&ring->lost_all);
	/* As in leave(): where the worker has gone to sleep meanwhile, it must hear of it. */
	smp_mb();
	if ((long)(READ_ONCE(ring->wake_at) - ring->head) < LONG_MAX / 2)
		kick(ring);
}

static __always_inline struct nlbus_record *claim(struct nlbus_ring *ring, u32 size)
{
	struct nlbus_record *record;
	unsigned long head, at, pad;

	do {
		head = READ_ONCE(ring->head);
		at = head & (ring->size - 1);
		pad = ring->size - at < size ? ring->size - at : 0;
		if (head + pad + size - READ_ONCE(ring->seen) > ring->size) {
			/* Room to write in, once the worker has read what was there; pairs with nlbus_drain(). */
			WRITE_ONCE(ring->seen, smp_load_acquire(&ring->tail));
			if (head + pad + size - READ_ONCE(ring->seen) > ring->size)
				return NULL;
		}
	} while (cmpxchg_local(&ring->head, head, head + pad + size) != head);

	record = (struct nlbus_record *)(ring->data + at);
	if (pad) {
		/* At the end of the ring there may be room for these two fields only. */
		record->size = pad;
		record->groups = 0;
		record = (struct nlbus_record *)ring->data;
	}
	record->size = size;
	return record;
}

/* Somebody listens. Preemption is off, and the ring is ours until commit(). */
static __always_inline void *reserve(struct nlbus_net *nn, u32 groups, u32 type, u32 len)
{
	struct nlbus_ring *ring = rcu_dereference_sched(this_cpu_ptr(nn->cpu)->ring);
	struct nlbus_record *record;

	if (unlikely(len > NLBUS_MAX_EVENT))
		return ERR_PTR(-EMSGSIZE);
	/* The first subscriber is about to come: its mask was seen before its rings. */
	if (unlikely(!ring))
		return ERR_PTR(skip(nn, groups));
	enter(ring);
	record = claim(ring, ALIGN(sizeof(*record) + len, 8));
	if (unlikely(!record)) {
		count_lost(ring, groups);
		leave(ring);
		return ERR_PTR(-ENOBUFS);
	}
	record->groups = groups;
	record->type = type;
	record->len = len;
	record->ring = ring;
	return record->data;
}

static noinline u64 look_at_clock(struct nlbus_ring *ring, unsigned long tick, unsigned long head)
{
	u64 now = ktime_get_real_fast_ns();

	/* Who interrupts others lets their record of it alone. */
	if (READ_ONCE(ring->nest) == 1) {
		ring->clock_ns = now;
		ring->clock_tick = tick;
		ring->clock_at = head;
	}
	return now;
}

/*
 * When this event was published. Looking at the clock takes longer than all else here, and of a batch only the
 * first event's time is told. So, unless the worker sleeps (this event begins a batch) or each event's time is
 * wanted, we look once for some events and once a tick.
 */
static __always_inline u64 time_of_event(struct nlbus_ring *ring)
{
	unsigned long tick = READ_ONCE(jiffies), head = READ_ONCE(ring->head);

	if (READ_ONCE(ring->nest) == 1 && tick == ring->clock_tick && head - ring->clock_at < CLOCK_BYTES &&
	    (long)(head - READ_ONCE(ring->wake_at)) <= 0 && !READ_ONCE(ring->nn->linger_us))
		return ring->clock_ns;
	return look_at_clock(ring, tick, head);
}

static __always_inline void commit(void *event)
{
	struct nlbus_record *record = container_of(event, struct nlbus_record, data[0]);
	struct nlbus_ring *ring = record->ring;

	record->time_ns = time_of_event(ring);
	leave(ring);
}

static noinline int publish(struct nlbus_net *nn, u32 groups, u32 type, const void *data, u32 len)
{
	void *event = reserve(nn, groups, type, len);

	if (IS_ERR(event))
		return PTR_ERR(event);
	memcpy(event, data, len);
	commit(event);
	return 0;
}

/**
 * nlbus_publish() - publish an event
 * @net: the network namespace that hears it
 * @groups: mask of the groups that it goes to: bit g - 1 is group g
 * @type: event type, the publisher's to choose
 * @data: the event
 * @len: its bytes, up to NLBUS_MAX_EVENT
 *
 * Context: Any, NMI included.
 *
 * Returns: 0; -ESRCH if nobody listens, -ENOBUFS if the buffer is full, both counted, and the latter shows
 * up in the loss of the subscribers; -EINVAL without groups; -EMSGSIZE.
 */
int nlbus_publish(struct net *net, u32 groups, u32 type, const void *data, u32 len)
{
	struct nlbus_net *nn;
	int error;

	preempt_disable_notrace();
	nn = pernet_sched(net);
	if (unlikely(listening(nn, groups)))
		error = publish(nn, groups, type, data, len);
	else
		error = skip(nn, groups);
	preempt_enable_notrace();
	return error;
}
EXPORT_SYMBOL_GPL(nlbus_publish);

/**
 * nlbus_reserve() - room for an event, to be written in place
 * @net: the network namespace that hears it
 * @groups: mask of the groups that it goes to
 * @type: event type
 * @len: its bytes, up to NLBUS_MAX_EVENT
 *
 * All of them must be written before nlbus_commit(). Preemption is off until that, or nlbus_discard(), and
 * nothing from this CPU goes out: be quick.
 *
 * Context: Any, NMI included.
 *
 * Returns: the room, aligned to 8; NULL as nlbus_publish() fails, with preemption as it was.
 */
void *nlbus_reserve(struct net *net, u32 groups, u32 type, u32 len)
{
	struct nlbus_net *nn;
	void *event;

	preempt_disable_notrace();
	nn = pernet_sched(net);
	if (unlikely(listening(nn, groups)))
		event = reserve(nn, groups, type, len);
	else
		event = ERR_PTR(skip(nn, groups));
	if (!IS_ERR(event))
		return event;
	preempt_enable_notrace();
	return NULL;
}
EXPORT_SYMBOL_GPL(nlbus_reserve);

/**
 * nlbus_commit() - publish what was written
 * @event: from nlbus_reserve()
 *
 * Context: That of nlbus_reserve().
 */
void nlbus_commit(void *event)
{
	commit(event);
	preempt_enable_notrace();
}
EXPORT_SYMBOL_GPL(nlbus_commit);

/**
 * nlbus_discard() - publish it not
 * @event: from nlbus_reserve()
 *
 * Context: That of nlbus_reserve().
 */
void nlbus_discard(void *event)
{
	container_of(event, struct nlbus_record, data[0])->groups = 0;
	commit(event);
	preempt_enable_notrace();
}
EXPORT_SYMBOL_GPL(nlbus_discard);

/**
 * nlbus_listening() - whether an event may find a subscriber
 * @net: the network namespace
 * @groups: mask of the groups that the event would go to
 *
 * A group counts as listened to for some seconds after its last subscriber left.
 *
 * Context: Any, NMI included.
 *
 * Returns: false if nlbus_publish() would do nothing.
 */
bool nlbus_listening(struct net *net, u32 groups)
{
	bool any;

	preempt_disable_notrace();
	any = listening(pernet_sched(net), groups);
	preempt_enable_notrace();
	return any;
}
EXPORT_SYMBOL_GPL(nlbus_listening);

/* In hard interrupt context, on any kernel but a real-time one. */
static void kicked(struct irq_work *kick)
{
	struct nlbus_ring *ring = container_of(kick, struct nlbus_ring, kick);

	queue_work(nlbus_wq, &ring->nn->work);
}

/* For the worker: a ring may come at any time, and goes only when the worker has ended. */
struct nlbus_ring *nlbus_ring_of(struct nlbus_net *nn, unsigned int cpu)
{
	return rcu_dereference_raw(per_cpu_ptr(nn->cpu, cpu)->ring);
}

static struct nlbus_ring *ring_alloc(struct nlbus_net *nn, unsigned int cpu)
{
	struct nlbus_ring *ring = kzalloc_node(sizeof(*ring), GFP_KERNEL_ACCOUNT, cpu_to_node(cpu));

	if (!ring)
		return NULL;
	ring->data = kvzalloc_node(nlbus_buffer_bytes, GFP_KERNEL_ACCOUNT, cpu_to_node(cpu));
	if (!ring->data) {
		kfree(ring);
		return NULL;
	}
	ring->size = nlbus_buffer_bytes;
	ring->nn = nn;
	init_irq_work(&ring->kick, kicked);
	return ring;
}

/* Rings for all CPUs that there may ever be: none is missing when one comes. Under @nn->setup; may sleep. */
int nlbus_rings_alloc(struct nlbus_net *nn)
{
	struct nlbus_ring *ring;
	unsigned int cpu;

	for_each_possible_cpu(cpu) {
		if (nlbus_ring_of(nn, cpu))
			continue;
		ring = ring_alloc(nn, cpu);
		if (!ring)
			return -ENOMEM;
		rcu_assign_pointer(per_cpu_ptr(nn->cpu, cpu)->ring, ring);
	}
	return 0;
}

/* No publisher can be in a ring any more, and the worker has ended. */
void nlbus_rings_free(struct nlbus_net *nn)
{
	struct nlbus_ring *ring;
	unsigned int cpu;

	for_each_possible_cpu(cpu) {
		ring = nlbus_ring_of(nn, cpu);
		if (!ring)
			continue;
		kvfree(ring->data);
		kfree(ring);
	}
}

/* No publisher can be in a ring any more: have none of their calls to the worker under way either. */
void nlbus_rings_sync(struct nlbus_net *nn)
{
	struct nlbus_ring *ring;
	unsigned int cpu;

	for_each_possible_cpu(cpu) {
		ring = nlbus_ring_of(nn, cpu);
		if (ring)
			irq_work_sync(&ring->kick);
	}
}
