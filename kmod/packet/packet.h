/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _NLBUS_PACKET_KERNEL_H
#define _NLBUS_PACKET_KERNEL_H

#include <linux/atomic.h>
#include <linux/if.h>
#include <linux/in6.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/netfilter.h>
#include <linux/percpu.h>
#include <linux/skbuff.h>
#include <linux/u64_stats_sync.h>
#include <net/genetlink.h>
#include <net/net_namespace.h>

#include "uapi/nlbus_packet.h"

/**
 * struct packet_counters - what a rule has decided on one CPU
 * @sync:	for 32-bit readers
 * @packets:	that matched
 * @bytes:	of these
 * @events:	told of these
 */
struct packet_counters {
	struct u64_stats_sync	sync;
	u64_stats_t		packets;
	u64_stats_t		bytes;
	u64_stats_t		events;
};

struct packet_ports {
	u16	first;
	u16	last;
	bool	set;
};

/* Never changes once it is in the list, but for the counters and @turn. */
struct packet_rule {
	struct list_head	list;
	struct rcu_head		rcu;
	struct packet_counters __percpu *counters;
	atomic_t		turn;		/* of sampling */
	u32			handle;
	u32			hooks;
	u32			sample;
	u8			action;
	u8			family;		/* 0: both */
	u8			protocol;
	bool			protocol_set;
	u8			src_len;
	u8			dst_len;
	struct in6_addr		src;
	struct in6_addr		dst;
	struct packet_ports	sport;
	struct packet_ports	dport;
	char			iif[IFNAMSIZ];	/* empty: any */
	char			oif[IFNAMSIZ];
};

/**
 * struct packet_net - the rules of a network namespace
 * @rules:	in order, under RCU; hooks read them
 * @lock:	who changes them holds it
 * @count:	how many there are
 * @handle:	the last that was given
 * @generation:	changes with them, for dumps; never 0
 */
struct packet_net {
	struct list_head	rules;
	struct mutex		lock;		/* of changes */
	unsigned int		count;
	u32			handle;
	unsigned int		generation;
};

struct packet_net *packet_net(const struct net *net);

/* packet_parse.c */
void packet_parse(struct nlbus_packet *packet, const struct sk_buff *skb,
		  const struct nf_hook_state *state);

/* packet_rules.c */
struct packet_rule *packet_rule_alloc(void);
void packet_rule_free(struct packet_rule *rule);
struct packet_rule *packet_rule_find(struct packet_net *pn, u32 handle);
void packet_rule_insert(struct packet_net *pn, struct packet_rule *rule,
			struct packet_rule *before);
void packet_rule_remove(struct packet_net *pn, struct packet_rule *rule);
void packet_rules_flush(struct packet_net *pn);
struct packet_rule *packet_rules_match(struct packet_net *pn,
				       const struct nlbus_packet *packet,
				       const struct nf_hook_state *state);
bool packet_rule_tells(struct packet_rule *rule);
void packet_rule_count(struct packet_rule *rule, u32 bytes, bool told);
void packet_rule_read(const struct packet_rule *rule, u64 *packets, u64 *bytes,
		      u64 *events);

/* packet_attr.c */
extern const struct nla_policy packet_policy[NLBUS_PACKET_A_MAX + 1];
int packet_get_rule(struct packet_rule *rule, struct genl_info *info);
int packet_put_rule(struct sk_buff *skb, const struct packet_rule *rule);

/* packet_genl.c */
int packet_genl_init(void);
void packet_genl_exit(void);

#endif /* _NLBUS_PACKET_KERNEL_H */
