// SPDX-License-Identifier: GPL-2.0
/*
 * Datagrams from user space, handled in their sender's context.
 *
 * A datagram is accepted or refused as a whole: all its batches belong to one stream, and every
 * byte conforms to uapi/nlbus.h. An accepted one is copied once, stamped with its sender and
 * broadcast to the groups of its mask.
 */
#include <linux/capability.h>
#include <linux/uidgid.h>
#include <linux/user_namespace.h>

#include "internal.h"

/**
 * struct input_chain - a datagram that is being checked
 * @nlh:	the current message
 * @first:	the first batch
 * @next_seq:	lowest first_seq that the next batch may have
 * @events:	events of all batches so far
 * @extack:	receives the reason of a refusal
 */
struct input_chain {
	struct nlmsghdr *nlh;
	const struct nlbus_batch *first;
	u64 next_seq;
	u32 events;
	struct netlink_ext_ack *extack;
};

/*
 * Not NL_SET_ERR_MSG_ATTR(), because the fault is not in an attribute. @at is NULL or points into
 * the message behind its nlmsghdr: netlink_ack() can report no other place.
 */
static int input_refuse(const struct input_chain *c, const void *at, const char *why)
{
	c->extack->_msg = why;
	c->extack->bad_attr = at;
	return -EINVAL;
}

static int input_check_zero(const struct input_chain *c, const u8 *at, const u8 *end,
			    const char *why)
{
	for (; at < end; at++)
		if (*at)
			return input_refuse(c, at, why);
	return 0;
}

/* Padding has at most 7 bytes. */
static int input_check_padding(const struct input_chain *c, const u8 *at, const u8 *end)
{
	return input_check_zero(c, at, end, "padding is not zero");
}

static int input_check_offsets(const struct input_chain *c, const struct nlbus_batch *batch,
			       const u32 *offsets, u64 room)
{
	u32 i;

	if (offsets[0])
		return input_refuse(c, offsets, "offsets do not start at 0");
	for (i = 1; i <= batch->count; i++)
		if (offsets[i] < offsets[i - 1])
			return input_refuse(c, &offsets[i], "offsets fall");
	if (offsets[batch->count] > room)
		return input_refuse(c, &offsets[batch->count], "offsets lead out of the message");
	return 0;
}

/* Counts and sizes are the sender's: 64 bits are enough that no sum of them wraps. */
static int input_check_body(const struct input_chain *c, const struct nlbus_batch *batch,
			    const u8 *body, const u8 *end)
{
	u64 room = end - body, used, aligned;
	int err;

	if (batch->flags & NLBUS_F_VAR) {
		if (batch->record_size)
			return input_refuse(c, &batch->record_size, "record_size with NLBUS_F_VAR");
		used = sizeof(u32) * ((u64)batch->count + 1);
		if (used > room)
			return input_refuse(c, &batch->count,
					    "message is too short for its offsets");
		err = input_check_offsets(c, batch, (const u32 *)body, room - used);
		if (err)
			return err;
		used += ((const u32 *)body)[batch->count];
	} else {
		if (batch->count && !batch->record_size)
			return input_refuse(c, &batch->record_size,
					    "record_size is 0, without NLBUS_F_VAR");
		used = (u64)batch->count * batch->record_size;
		if (used > room)
			return input_refuse(c, &batch->count,
					    "message is too short for its records");
	}
	if (batch->flags & NLBUS_F_TIMES) {
		aligned = ALIGN(used, 8);
		if (aligned + sizeof(u32) * (u64)batch->count > room)
			return input_refuse(c, &batch->count, "message is too short for its times");
		err = input_check_padding(c, body + used, body + aligned);
		if (err)
			return err;
		used = aligned + sizeof(u32) * (u64)batch->count;
	}
	if (room - used >= 8)
		return input_refuse(c, body + used, "bytes that nothing announces");
	return input_check_padding(c, body + used, end);
}

static int input_check_head(const struct input_chain *c, const struct nlbus_batch *batch,
			    size_t room)
{
	if (batch->magic != NLBUS_MAGIC)
		return input_refuse(c, &batch->magic, "magic is not NLBUS_MAGIC");
	if (batch->version != NLBUS_VERSION)
		return input_refuse(c, &batch->version, "unknown version");
	if (batch->header_len < sizeof(*batch) || batch->header_len % 8 || batch->header_len > room)
		return input_refuse(c, &batch->header_len,
				    "header_len is below 80, no multiple of 8, or beyond the message");
	if (batch->flags & ~NLBUS_F_KNOWN)
		return input_refuse(c, &batch->flags, "unknown flag");
	if (batch->count > NLBUS_MAX_COUNT)
		return input_refuse(c, &batch->count, "count is above NLBUS_MAX_COUNT");
	if (!batch->groups)
		return input_refuse(c, &batch->groups, "no groups");
	if (batch->first_seq > U64_MAX - batch->count)
		return input_refuse(c, &batch->first_seq, "first_seq would wrap");
	if (batch->dgram_seq == U64_MAX)
		return input_refuse(c, &batch->dgram_seq, "dgram_seq would wrap");
	if (batch->origin_portid)
		return input_refuse(c, &batch->origin_portid,
				    "origin_portid is the module's to fill in");
	if (batch->origin_uid)
		return input_refuse(c, &batch->origin_uid, "origin_uid is the module's to fill in");
	/* A later version may define more fields, and trust what the module passed on. */
	return input_check_zero(c, (const u8 *)(batch + 1), (const u8 *)batch + batch->header_len,
				"unknown header extension is not zero");
}

static int input_check_stream(const struct input_chain *c, const struct nlbus_batch *batch)
{
	if (batch->instance != c->first->instance)
		return input_refuse(c, &batch->instance,
				    "batches of several streams in a datagram: instance");
	if (batch->groups != c->first->groups)
		return input_refuse(c, &batch->groups,
				    "batches of several streams in a datagram: groups");
	if (batch->dgram_seq != c->first->dgram_seq)
		return input_refuse(c, &batch->dgram_seq,
				    "batches of a datagram differ in dgram_seq");
	if (batch->first_seq < c->next_seq)
		return input_refuse(c, &batch->first_seq,
				    "first_seq is below the end of the batch before");
	return 0;
}

static int input_check_message(struct input_chain *c, const struct nlmsghdr *nlh, u32 room)
{
	const struct nlbus_batch *batch = nlmsg_data(nlh);
	const u8 *end = (const u8 *)nlh + nlh->nlmsg_len;
	int err;

	if (nlh->nlmsg_len > room)
		return input_refuse(c, NULL, "nlmsg_len is beyond the datagram");
	if (nlh->nlmsg_len < NLBUS_HEAD)
		return input_refuse(c, NULL, "nlmsg_len is too small for a batch");
	if (nlh->nlmsg_len < room && nlh->nlmsg_len % 8)
		return input_refuse(c, NULL,
				    "nlmsg_len before another message is no multiple of 8");
	if (nlh->nlmsg_type != NLBUS_MSG_BATCH)
		return input_refuse(c, NULL, "a message that is no batch");
	err = input_check_head(c, batch, end - (const u8 *)batch);
	if (err)
		return err;
	if (!c->first)
		c->first = batch;
	err = input_check_stream(c, batch) ?:
	      input_check_body(c, batch, (const u8 *)batch + batch->header_len, end);
	c->next_seq = batch->first_seq + batch->count;
	c->events += batch->count;
	return err;
}

static int input_check_chain(struct input_chain *c, const struct sk_buff *skb)
{
	u32 at, room;
	int err;

	if (skb->len > NLBUS_MAX_DATAGRAM) {
		input_refuse(c, NULL, "datagram is above NLBUS_MAX_DATAGRAM");
		return -EMSGSIZE;
	}
	for (at = 0; at < skb->len; at += c->nlh->nlmsg_len) {
		room = skb->len - at;
		if (room < NLMSG_HDRLEN)
			return input_refuse(c, NULL, "bytes behind the last message");
		c->nlh = (struct nlmsghdr *)(skb->data + at);
		err = input_check_message(c, c->nlh, room);
		if (err)
			return err;
	}
	return 0;
}

/* Stamp the sender into each batch, and clear what was between the sender and the module only. */
static void input_stamp(struct sk_buff *copy, u32 portid, u32 uid)
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

/* @quote: first message of the datagram; on return, the message to quote in the answer. */
static int input_publish(struct nlbus_net *nn, struct sk_buff *skb, struct nlmsghdr **quote,
			 struct netlink_ext_ack *extack)
{
	struct input_chain c = { .nlh = *quote, .extack = extack };
	struct sk_buff *copy;
	int err;

	/* The core checks this for sends to a group, but lets anybody send to the kernel. */
	if (!netlink_net_capable(skb, CAP_NET_ADMIN)) {
		NL_SET_ERR_MSG(extack, "publishing needs CAP_NET_ADMIN in the network namespace");
		return -EPERM;
	}
	err = input_check_chain(&c, skb);
	if (err) {
		*quote = c.nlh;
		return err;
	}
	copy = alloc_skb(skb->len, GFP_KERNEL);
	if (!copy)
		return -ENOMEM;
	skb_put_data(copy, skb->data, skb->len);
	NETLINK_CB(copy).portid = NETLINK_CB(skb).portid;
	NETLINK_CB(copy).creds = NETLINK_CB(skb).creds;
	input_stamp(copy, NETLINK_CB(skb).portid,
		    from_kuid_munged(nn->net->user_ns, NETLINK_CB(skb).creds.uid));
	return nlbus_fan_out(nn, copy, c.first->groups, c.events);
}

/* Quote the header alone: the message is shorter than it claims. */
static void input_ack_header(struct sk_buff *skb, const struct nlmsghdr *nlh, int err,
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
	netlink_ack(quoted, header, err, extack);
	quoted->sk = NULL;
	kfree_skb(quoted);
}

static void input_batches(struct nlbus_net *nn, struct sk_buff *skb)
{
	struct nlmsghdr *first = nlmsg_hdr(skb), *quote = first;
	struct netlink_ext_ack extack = {};
	int err = input_publish(nn, skb, &quote, &extack);

	if (err && err != -ENOBUFS)
		atomic64_inc(&nn->refused);
	if (!err && !(first->nlmsg_flags & NLM_F_ACK))
		return;
	if (quote->nlmsg_len < NLMSG_HDRLEN ||
	    quote->nlmsg_len > skb_tail_pointer(skb) - (u8 *)quote)
		input_ack_header(skb, quote, err, &extack);
	else
		netlink_ack(skb, quote, err, &extack);
}

void nlbus_input(struct sk_buff *skb)
{
	struct nlbus_net *nn = nlbus_pernet(sock_net(skb->sk));

	/* nlbus_net_init() has not finished. */
	if (!READ_ONCE(nn->sk))
		return;
	if (skb->len < NLMSG_HDRLEN)
		atomic64_inc(&nn->refused); /* no header to answer */
	else if (nlmsg_hdr(skb)->nlmsg_type == NLBUS_MSG_BATCH)
		input_batches(nn, skb);
	else
		netlink_rcv_skb(skb, nlbus_control);
}
