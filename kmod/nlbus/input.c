// SPDX-License-Identifier: GPL-2.0
/*
 * Datagrams of user space, in their sender's context.
 *
 * A datagram is taken as a whole or not at all: all batches in it are of one
 * stream, and every byte of it is what uapi/nlbus.h says. Then it goes on, copied
 * once, to the groups of its mask, as from its sender.
 */
#include <linux/capability.h>
#include <linux/uidgid.h>
#include <linux/user_namespace.h>

#include "internal.h"

/**
 * struct chain - a datagram that is being checked
 * @nlh:	the message looked at
 * @first:	the first batch
 * @next_seq:	where the next batch may begin
 * @events:	of all batches
 * @extack:	gets what is wrong with it
 */
struct chain {
	struct nlmsghdr *nlh;
	const struct nlbus_batch *first;
	u64 next_seq;
	u32 events;
	struct netlink_ext_ack *extack;
};

/*
 * Not NL_SET_ERR_MSG_ATTR(): what is wrong is no attribute. @at lies in the message behind its nlmsghdr, or is
 * NULL: netlink_ack() can point at nothing else.
 */
static int refuse(struct netlink_ext_ack *extack, const void *at, const char *why)
{
	extack->_msg = why;
	extack->bad_attr = at;
	return -EINVAL;
}

/* Up to 7 bytes that mean nothing. */
static int check_padding(const struct chain *c, const u8 *at, const u8 *end)
{
	for (; at < end; at++)
		if (*at)
			return refuse(c->extack, at, "padding is not zero");
	return 0;
}

static int check_offsets(const struct chain *c, const struct nlbus_batch *batch, const u32 *offsets, u64 room)
{
	u32 i;

	if (offsets[0])
		return refuse(c->extack, offsets, "offsets do not start at 0");
	for (i = 1; i <= batch->count; i++)
		if (offsets[i] < offsets[i - 1])
			return refuse(c->extack, &offsets[i], "offsets fall");
	if (offsets[batch->count] > room)
		return refuse(c->extack, &offsets[batch->count], "offsets lead out of the message");
	return 0;
}

/* All sums are made in 64 bits, where none can wrap: counts and sizes are the sender's. */
static int check_body(const struct chain *c, const struct nlbus_batch *batch, const u8 *body, const u8 *end)
{
	u64 room = end - body, used, aligned;
	int error;

	if (batch->flags & NLBUS_F_VAR) {
		if (batch->record_size)
			return refuse(c->extack, &batch->record_size, "record_size with NLBUS_F_VAR");
		used = sizeof(u32) * ((u64)batch->count + 1);
		if (used > room)
			return refuse(c->extack, &batch->count, "message is too short for its offsets");
		error = check_offsets(c, batch, (const u32 *)body, room - used);
		if (error)
			return error;
		used += ((const u32 *)body)[batch->count];
	} else {
		if (batch->count && !batch->record_size)
			return refuse(c->extack, &batch->record_size, "record_size is 0, without NLBUS_F_VAR");
		used = (u64)batch->count * batch->record_size;
		if (used > room)
			return refuse(c->extack, &batch->count, "message is too short for its records");
	}
	if (batch->flags & NLBUS_F_TIMES) {
		aligned = ALIGN(used, 8);
		if (aligned + sizeof(u32) * (u64)batch->count > room)
			return refuse(c->extack, &batch->count, "message is too short for its times");
		error = check_padding(c, body + used, body + aligned);
		if (error)
			return error;
		used = aligned + sizeof(u32) * (u64)batch->count;
	}
	if (room - used >= 8)
		return refuse(c->extack, body + used, "bytes that nothing announces");
	return check_padding(c, body + used, end);
}

static int check_head(const struct chain *c, const struct nlbus_batch *batch, size_t room)
{
	if (batch->magic != NLBUS_MAGIC)
		return refuse(c->extack, &batch->magic, "magic is not NLBUS_MAGIC");
	if (batch->version != NLBUS_VERSION)
		return refuse(c->extack, &batch->version, "unknown version");
	if (batch->header_len < sizeof(*batch) || batch->header_len % 8 || batch->header_len > room)
		return refuse(c->extack, &batch->header_len,
			      "header_len is below 80, no multiple of 8, or beyond the message");
	if (batch->flags & ~NLBUS_F_KNOWN)
		return refuse(c->extack, &batch->flags, "unknown flag");
	if (batch->count > NLBUS_MAX_COUNT)
		return refuse(c->extack, &batch->count, "count is above NLBUS_MAX_COUNT");
	if (!batch->groups)
		return refuse(c->extack, &batch->groups, "no groups");
	if (batch->first_seq > U64_MAX - batch->count)
		return refuse(c->extack, &batch->first_seq, "first_seq would wrap");
	if (batch->dgram_seq == U64_MAX)
		return refuse(c->extack, &batch->dgram_seq, "dgram_seq would wrap");
	if (batch->origin_portid)
		return refuse(c->extack, &batch->origin_portid, "origin_portid is the module's to fill in");
	if (batch->origin_uid)
		return refuse(c->extack, &batch->origin_uid, "origin_uid is the module's to fill in");
	return 0;
}

static int check_stream(const struct chain *c, const struct nlbus_batch *batch)
{
	if (batch->instance != c->first->instance)
		return refuse(c->extack, &batch->instance, "batches of several streams in a datagram: instance");
	if (batch->groups != c->first->groups)
		return refuse(c->extack, &batch->groups, "batches of several streams in a datagram: groups");
	if (batch->dgram_seq != c->first->dgram_seq)
		return refuse(c->extack, &batch->dgram_seq, "batches of a datagram differ in dgram_seq");
	if (batch->first_seq < c->next_seq)
		return refuse(c->extack, &batch->first_seq, "first_seq is below the end of the batch before");
	return 0;
}

static int check_message(struct chain *c, const struct nlmsghdr *nlh, u32 room)
{
	const struct nlbus_batch *batch = nlmsg_data(nlh);
	const u8 *end = (const u8 *)nlh + nlh->nlmsg_len;
	int error;

	if (nlh->nlmsg_len > room)
		return refuse(c->extack, NULL, "nlmsg_len is beyond the datagram");
	if (nlh->nlmsg_len < NLBUS_HEAD)
		return refuse(c->extack, NULL, "nlmsg_len is too small for a batch");
	if (nlh->nlmsg_len < room && nlh->nlmsg_len % 8)
		return refuse(c->extack, NULL, "nlmsg_len before another message is no multiple of 8");
	if (nlh->nlmsg_type != NLBUS_MSG_BATCH)
		return refuse(c->extack, NULL, "a message that is no batch");
	error = check_head(c, batch, end - (const u8 *)batch);
	if (error)
		return error;
	if (!c->first)
		c->first = batch;
	error = check_stream(c, batch) ?: check_body(c, batch, (const u8 *)batch + batch->header_len, end);
	c->next_seq = batch->first_seq + batch->count;
	c->events += batch->count;
	return error;
}

static int check_chain(struct chain *c, const struct sk_buff *skb)
{
	u32 at, room;
	int error;

	if (skb->len > NLBUS_MAX_DATAGRAM) {
		refuse(c->extack, NULL, "datagram is above NLBUS_MAX_DATAGRAM");
		return -EMSGSIZE;
	}
	for (at = 0; at < skb->len; at += c->nlh->nlmsg_len) {
		room = skb->len - at;
		if (room < NLMSG_HDRLEN)
			return refuse(c->extack, NULL, "bytes behind the last message");
		c->nlh = (struct nlmsghdr *)(skb->data + at);
		error = check_message(c, c->nlh, room);
		if (error)
			return error;
	}
	return 0;
}

/* Who sent it, for those who look at the bytes; and nothing of what was between sender and module only. */
static void stamp(struct sk_buff *copy, u32 portid, u32 uid)
{
	struct nlbus_batch *batch;
	struct nlmsghdr *nlh;
	u32 at;

	for (at = 0; at < copy->len; at += nlh->nlmsg_len) {
		nlh = (struct nlmsghdr *)(copy->data + at);
		nlh->nlmsg_flags = 0;
		nlh->nlmsg_seq = 0;
		nlh->nlmsg_pid = 0;
		batch = nlmsg_data(nlh);
		batch->origin_portid = portid;
		batch->origin_uid = uid;
	}
}

/* *quote: in, the first message; out, the one to quote in the answer. */
static int publish(struct nlbus_net *nn, struct sk_buff *skb, struct nlmsghdr **quote,
		   struct netlink_ext_ack *extack)
{
	struct chain c = { .nlh = *quote, .extack = extack };
	struct sk_buff *copy;
	int error;

	/* The core asks this of who sends to a group, but anybody may send to us. */
	if (!netlink_net_capable(skb, CAP_NET_ADMIN)) {
		NL_SET_ERR_MSG(extack, "publishing needs CAP_NET_ADMIN in the network namespace");
		return -EPERM;
	}
	error = check_chain(&c, skb);
	if (error) {
		*quote = c.nlh;
		return error;
	}
	copy = alloc_skb(skb->len, GFP_KERNEL);
	if (!copy)
		return -ENOMEM;
	skb_put_data(copy, skb->data, skb->len);
	NETLINK_CB(copy).portid = NETLINK_CB(skb).portid;
	NETLINK_CB(copy).creds = NETLINK_CB(skb).creds;
	stamp(copy, NETLINK_CB(skb).portid, from_kuid_munged(nn->net->user_ns, NETLINK_CB(skb).creds.uid));
	return nlbus_fan_out(nn, copy, c.first->groups, c.events);
}

/* Quote the header alone: the message is not as long as it says. */
static void ack_header(struct sk_buff *skb, const struct nlmsghdr *nlh, int error,
		       const struct netlink_ext_ack *extack)
{
	struct sk_buff *quoted = alloc_skb(NLMSG_HDRLEN, GFP_KERNEL);
	struct nlmsghdr *header;

	if (!quoted)
		return;
	header = skb_put_data(quoted, nlh, NLMSG_HDRLEN);
	header->nlmsg_len = NLMSG_HDRLEN;
	NETLINK_CB(quoted) = NETLINK_CB(skb);
	quoted->sk = skb->sk;
	netlink_ack(quoted, header, error, extack);
	quoted->sk = NULL;
	kfree_skb(quoted);
}

static void input_batches(struct nlbus_net *nn, struct sk_buff *skb)
{
	struct nlmsghdr *first = nlmsg_hdr(skb), *quote = first;
	struct netlink_ext_ack extack = {};
	int error = publish(nn, skb, &quote, &extack);

	if (error && error != -ENOBUFS)
		atomic64_inc(&nn->refused);
	if (!error && !(first->nlmsg_flags & NLM_F_ACK))
		return;
	if (quote->nlmsg_len < NLMSG_HDRLEN || quote->nlmsg_len > skb_tail_pointer(skb) - (u8 *)quote)
		ack_header(skb, quote, error, &extack);
	else
		netlink_ack(skb, quote, error, &extack);
}

void nlbus_input(struct sk_buff *skb)
{
	struct nlbus_net *nn = nlbus_pernet(sock_net(skb->sk));

	/* Somebody was faster than nlbus_net_init(). */
	if (!READ_ONCE(nn->sk))
		return;
	if (skb->len < NLMSG_HDRLEN)
		atomic64_inc(&nn->refused); /* and nothing to answer to */
	else if (nlmsg_hdr(skb)->nlmsg_type == NLBUS_MSG_BATCH)
		input_batches(nn, skb);
	else
		netlink_rcv_skb(skb, nlbus_control);
}
