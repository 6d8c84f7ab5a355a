// SPDX-License-Identifier: GPL-2.0
/*
 * The datagram that a stream is filling: batches of events, built in place.
 *
 * Events of one type and length are packed as they come. The offsets of events of varying length
 * and the times of events are kept in arrays of their own until the batch is complete.
 */
#include <linux/mm.h>
#include <linux/slab.h>

#include "internal.h"

static u8 *pending_data(const struct nlbus_pending *p)
{
	return p->skb->data;
}

/* Size of a batch of @count events with @bytes of data, header included. */
static u32 pending_batch_size(u32 bytes, u32 count, bool varying, bool timed)
{
	u32 used = bytes + (varying ? 4 * (count + 1) : 0);

	if (timed)
		used = ALIGN(used, 8) + 4 * count;
	return NLBUS_HEAD + used;
}

/* Write the 96 bytes before a body, constant fields included. */
void nlbus_put_head(void *at, struct nlbus_batch *head, u32 body_len)
{
	struct nlmsghdr message = {
		.nlmsg_len = NLBUS_HEAD + body_len,
		.nlmsg_type = NLBUS_MSG_BATCH,
	};

	head->magic = NLBUS_MAGIC;
	head->version = NLBUS_VERSION;
	head->header_len = sizeof(*head);
	memcpy(at, &message, sizeof(message));
	memcpy(at + sizeof(message), head, sizeof(*head));
}

/* Complete the open batch: insert offsets before the events, append times behind them. */
static void pending_close(struct nlbus_pending *p)
{
	u8 *body = pending_data(p) + p->at + NLBUS_HEAD;
	u32 used = p->bytes, offsets, pad;

	if (p->varying) {
		offsets = 4 * (p->count + 1);
		memmove(body + offsets, body, used);
		memset(body, 0, 4);
		memcpy(body + 4, p->ends, offsets - 4);
		used += offsets;
		p->head.flags |= NLBUS_F_VAR;
		p->head.record_size = 0;
	}
	if (p->timed) {
		pad = ALIGN(used, 8) - used;
		memset(body + used, 0, pad);
		memcpy(body + used + pad, p->times, 4 * p->count);
		used += pad + 4 * p->count;
		p->head.flags |= NLBUS_F_TIMES;
	}
	p->head.count = p->count;
	nlbus_put_head(pending_data(p) + p->at, &p->head, used);
	p->newest = p->at;
	p->at += NLBUS_HEAD + used;
	p->events += p->count;
	p->count = 0;
	p->bytes = 0;
	p->fast = 0;
}

/* Open a batch for @event behind the complete ones, padding the message before it. */
static void pending_open(struct nlbus_pending *p, const struct nlbus_record *event, bool timed)
{
	struct nlmsghdr *before;
	u32 pad = ALIGN(p->at, 8) - p->at;

	if (pad) {
		before = (struct nlmsghdr *)(pending_data(p) + p->newest);
		memset(pending_data(p) + p->at, 0, pad);
		before->nlmsg_len += pad;
		p->at += pad;
	}
	p->head = (struct nlbus_batch) {
		.record_size = event->len,
		.type = event->type,
		.fingerprint = nlbus_fingerprint(event->type),
		.time_ns = event->time_ns,
	};
	p->varying = false;
	p->timed = timed;
}

/* Allocate a datagram of at most @room bytes. */
static int pending_alloc(struct nlbus_pending *p, u32 room)
{
	p->skb = alloc_skb(room, GFP_KERNEL);
	if (!p->skb)
		return -ENOMEM;
	p->limit = room;
	p->at = 0;
	p->events = 0;
	p->count = 0;
	p->bytes = 0;
	p->fast = 0;
	return 0;
}

/* Allocate both arrays. Each entry takes 4 bytes of the datagram in the end, which bounds them. */
static int pending_alloc_arrays(struct nlbus_pending *p)
{
	const size_t most = NLBUS_MAX_DATAGRAM / 4;

	p->ends = kvmalloc_array(2 * most, sizeof(*p->ends), GFP_KERNEL);
	if (!p->ends)
		return -ENOMEM;
	p->times = p->ends + most;
	return 0;
}

/* Whether the event needs a new batch. */
static bool pending_differs(const struct nlbus_pending *p, const struct nlbus_record *event,
			    bool timed)
{
	/* Events come from several CPUs, so time may go backwards. */
	return p->head.type != event->type || p->timed != timed ||
	       (timed && event->time_ns - p->head.time_ns > U32_MAX);
}

/*
 * Append one event. @room: size of the datagram, if one must be allocated. Returns 0; -ENOSPC if
 * the pending datagram has no room left: send it, then retry; or -ENOMEM.
 */
int nlbus_pending_add(struct nlbus_pending *p, const struct nlbus_record *event, u32 room,
		      u32 chain_bytes, bool timed)
{
	u32 alone = pending_batch_size(event->len, 1, !event->len, timed), used, i;
	bool varying;
	int err;

	/* A datagram of the smallest events is full before its batch has too many of them. */
	BUILD_BUG_ON(NLBUS_MAX_DATAGRAM > NLBUS_MAX_COUNT);
	/* If the datagram has no room for its own time, the event has that of its batch. */
	if (alone > NLBUS_MAX_DATAGRAM) {
		timed = false;
		alone = pending_batch_size(event->len, 1, !event->len, timed);
	}
	if (p->count && pending_differs(p, event, timed))
		pending_close(p);

	/* An empty event counts as varying: the wire has no records of size 0. */
	varying = !event->len || (p->count && (p->varying || p->head.record_size != event->len));
	if ((varying || timed) && !p->ends) {
		err = pending_alloc_arrays(p);
		if (err)
			return err;
	}
	/* Allocated last, so that a pending datagram is never empty. */
	if (!p->skb) {
		err = pending_alloc(p, max(alone, min(room, chain_bytes)));
		if (err)
			return err;
	}
	used = pending_batch_size(p->bytes + event->len, p->count + 1, varying, timed);
	if ((p->count ? p->at : ALIGN(p->at, 8)) + used > p->limit)
		return -ENOSPC;
	if (!p->count)
		pending_open(p, event, timed);
	if (varying && !p->varying) {
		for (i = 0; i < p->count; i++)
			p->ends[i] = (i + 1) * p->head.record_size;
		p->varying = true;
	}
	memcpy(pending_data(p) + p->at + NLBUS_HEAD + p->bytes, event->data, event->len);
	p->bytes += event->len;
	if (p->varying)
		p->ends[p->count] = p->bytes;
	if (timed)
		p->times[p->count] = event->time_ns - p->head.time_ns;
	p->count++;
	p->fast = 0;
	if (!p->varying && !timed)
		p->fast = (p->limit - p->at - used) / event->len;
	return 0;
}

/* Fast path: append an event like the last one. Returns false if it needs nlbus_pending_add(). */
bool nlbus_pending_add_same(struct nlbus_pending *p, const struct nlbus_record *event)
{
	if (!p->fast || event->len != p->head.record_size || event->type != p->head.type)
		return false;
	memcpy(pending_data(p) + p->at + NLBUS_HEAD + p->bytes, event->data, event->len);
	p->bytes += event->len;
	p->count++;
	p->fast--;
	return true;
}

/* Complete the datagram and number its batches. Returns the number of events in it. */
u32 nlbus_pending_seal(struct nlbus_pending *p, const struct nlbus_stream *s)
{
	u64 first_seq = s->next_seq;
	struct nlbus_batch *head;
	struct nlmsghdr *message;
	u32 at = 0;

	if (p->count)
		pending_close(p);
	skb_put(p->skb, p->at);
	while (at < p->at) {
		message = (struct nlmsghdr *)(pending_data(p) + at);
		head = nlmsg_data(message);
		head->groups = s->groups;
		head->instance = s->instance;
		head->dgram_seq = s->next_dgram;
		head->first_seq = first_seq;
		first_seq += head->count;
		at += NLMSG_ALIGN(message->nlmsg_len);
	}
	return p->events;
}

void nlbus_pending_free(struct nlbus_pending *p)
{
	kfree_skb(p->skb);
	kvfree(p->ends);
	p->skb = NULL;
	p->ends = NULL;
}
