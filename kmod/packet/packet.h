/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Internals of nlbus_packet.ko: each file uses only those before it.
 *
 *	parse.c		a packet becomes a record
 *	rules.c		the rules of a namespace, matched against records
 *	attr.c		a rule as netlink attributes
 *	genl.c		the commands of the generic netlink family
 *	main.c		the hooks, and setup of a namespace
 */
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

#include "../uapi/nlbus_packet.h"

/* The error of a refused request; @attr is the attribute at fault, or NULL. */
#define packet_refuse(info, attr, why)				\
({								\
	NL_SET_ERR_MSG_ATTR((info)->extack, attr, why);		\
	-EINVAL;						\
})

/**
 * struct packet_counters - what a rule has matched on one CPU
 * @sync:	for 32-bit readers
 * @packets:	matched packets
 * @bytes:	their bytes
 * @events:	events published about them
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

/* Constant once it is in the list, except counters and @turn. */
struct packet_rule {
	struct list_head	list;
	struct rcu_head		rcu;
	struct packet_counters __percpu *counters;
	atomic_t		turn;		/* packets seen by sampling */
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
 * @rules:	list in order of precedence; hooks read it under RCU
 * @lock:	protects changes of the list
 * @count:	number of rules
 * @handle:	most recently assigned handle
 * @generation:	changes with the list, for consistent dumps; never 0
 */
struct packet_net {
	struct list_head	rules;
	struct mutex		lock;		/* changes of rules */
	unsigned int		count;
	u32			handle;
	unsigned int		generation;
};

/* parse.c */
void packet_parse(struct nlbus_packet *packet, const struct sk_buff *skb,
		  const struct nf_hook_state *state);

/* rules.c */
extern unsigned int packet_net_id;
struct packet_net *packet_net(const struct net *net);
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
bool packet_rule_reports(struct packet_rule *rule);
void packet_rule_count(struct packet_rule *rule, u32 bytes, bool published);
void packet_rule_read(const struct packet_rule *rule, u64 *packets, u64 *bytes, u64 *events);

/* attr.c */
extern const struct nla_policy packet_policy[NLBUS_PACKET_A_MAX + 1];
int packet_get_rule(struct packet_rule *rule, struct genl_info *info);
int packet_put_rule(struct sk_buff *skb, const struct packet_rule *rule);

/* genl.c */
int packet_genl_init(void);
void packet_genl_exit(void);

#endif /* _NLBUS_PACKET_KERNEL_H */
