// SPDX-License-Identifier: GPL-2.0
/* What nlbus_gen.ko calls per event: nlbus, or what a module does without it. */
#include <linux/ktime.h>

#include "gen.h"

static int call_reserve(struct gen *g, const struct gen_event *event)
{
	void *room = nlbus_reserve(g->net, gen_set.groups, gen_set.type, gen_set.size);

	if (!room)
		return nlbus_listening(g->net, gen_set.groups) ? -ENOBUFS : -ESRCH;
	memcpy(room, event, gen_set.size);
	nlbus_commit(room);
	return 0;
}

/* What a module does with plain netlink: one skb per event, equal to a batch of one. */
static int call_broadcast(struct gen *g, const struct gen_event *event)
{
	struct nlbus_batch head = {
		.record_size = gen_set.size,
		.count = 1,
		.type = gen_set.type,
		.instance = g->instance + event->thread,
		.first_seq = event->number,
		.dgram_seq = event->number,
		.time_ns = ktime_get_real_ns(),
		.groups = gen_set.groups,
		.magic = NLBUS_MAGIC,
		.version = NLBUS_VERSION,
		.header_len = sizeof(head),
	};
	u32 left = gen_set.groups, group;
	struct nlmsghdr *nlh;
	struct sk_buff *skb;
	int err = 0;

	skb = nlmsg_new(sizeof(head) + gen_set.size, GFP_KERNEL);
	if (!skb)
		return -ENOMEM;
	nlh = nlmsg_put(skb, 0, 0, NLBUS_MSG_BATCH, sizeof(head) + gen_set.size, 0);
	if (!nlh) {
		nlmsg_free(skb);
		return -EMSGSIZE;
	}
	memcpy(nlmsg_data(nlh), &head, sizeof(head));
	memcpy(nlmsg_data(nlh) + sizeof(head), event, gen_set.size);
	while (left) {
		group = nlbus_next_group(&left);
		NETLINK_CB(skb).dst_group = group;
		if (left)
			skb_get(skb);
		err = netlink_broadcast(g->sk, skb, 0, group, GFP_KERNEL) ?: err;
	}
	return err;
}

static int call_listeners(struct gen *g)
{
	u32 left = gen_set.groups;
	int any = 0;

	while (left)
		any |= netlink_has_listeners(g->sk, nlbus_next_group(&left));
	return any ? 0 : -ESRCH;
}

static int call_one(struct gen *g, const struct gen_event *event)
{
	switch (gen_set.call) {
	case GEN_PUBLISH:
		return nlbus_publish(g->net, gen_set.groups, gen_set.type, event, gen_set.size);
	case GEN_RESERVE:
		return call_reserve(g, event);
	case GEN_BROADCAST:
		return call_broadcast(g, event);
	case GEN_LISTENERS:
		return call_listeners(g);
	default:
		return 0;
	}
}

void gen_publish(struct gen *g, struct gen_event *event, struct gen_tally *tally)
{
	switch (call_one(g, event)) {
	case 0:
		tally->taken++;
		break;
	case -ESRCH:
		tally->skipped++;
		break;
	case -ENOBUFS:
		tally->full++;
		break;
	default:
		tally->failed++;
	}
}

void gen_add_up(struct gen *g, const struct gen_tally *tally)
{
	atomic64_add(tally->taken, &g->taken);
	atomic64_add(tally->skipped, &g->skipped);
	atomic64_add(tally->full, &g->full);
	atomic64_add(tally->failed, &g->failed);
}
