// SPDX-License-Identifier: GPL-2.0
/* The rules of a network namespace: hooks read them under RCU, a mutex protects changes. */
#include <linux/rculist.h>
#include <linux/slab.h>
#include <net/ipv6.h>
#include <net/netns/generic.h>

#include "packet.h"

unsigned int packet_net_id __read_mostly;

struct packet_net *packet_net(const struct net *net)
{
	return net_generic(net, packet_net_id);
}

static bool packet_match_ports(const struct packet_ports *ports, const struct nlbus_packet *packet,
			       u16 port)
{
	if (!ports->set)
		return true;
	return packet->flags & NLBUS_PACKET_F_PORTS && port >= ports->first && port <= ports->last;
}

/* By name, for a rule outlives its interface and applies to its successor. */
static bool packet_match_device(const char *name, const struct net_device *dev)
{
	return !name[0] || (dev && !strncmp(dev->name, name, IFNAMSIZ));
}

static bool packet_match_prefix(const u8 *address, const struct in6_addr *prefix, u8 length)
{
	return ipv6_prefix_equal((const struct in6_addr *)address, prefix, length);
}

static bool packet_match(const struct packet_rule *rule, const struct nlbus_packet *packet,
			 const struct nf_hook_state *state)
{
	return rule->hooks & (1U << packet->hook) &&
	       (!rule->family || rule->family == packet->family) &&
	       (!rule->protocol_set || rule->protocol == packet->protocol) &&
	       packet_match_prefix(packet->src, &rule->src, rule->src_len) &&
	       packet_match_prefix(packet->dst, &rule->dst, rule->dst_len) &&
	       packet_match_ports(&rule->sport, packet, packet->sport) &&
	       packet_match_ports(&rule->dport, packet, packet->dport) &&
	       packet_match_device(rule->iif, state->in) &&
	       packet_match_device(rule->oif, state->out);
}

/**
 * packet_rules_match() - find the first rule that matches a packet
 * @pn: rules of the namespace
 * @packet: the packet
 * @state: the hook, with its interfaces
 *
 * Context: A hook, which holds the RCU read lock.
 *
 * Return: the rule, or NULL.
 */
struct packet_rule *packet_rules_match(struct packet_net *pn, const struct nlbus_packet *packet,
				       const struct nf_hook_state *state)
{
	struct packet_rule *rule;

	list_for_each_entry_rcu(rule, &pn->rules, list) {
		if (packet_match(rule, packet, state))
			return rule;
	}
	return NULL;
}

/**
 * packet_rule_reports() - decide whether a matching packet is published
 * @rule: the rule
 *
 * Return: true; with sampling, for the first packet of every N across all CPUs.
 */
bool packet_rule_reports(struct packet_rule *rule)
{
	if (rule->action != NLBUS_PACKET_SAMPLE)
		return true;
	return (u32)atomic_fetch_inc(&rule->turn) % rule->sample == 0;
}

/**
 * packet_rule_count() - count a matching packet
 * @rule: the rule
 * @bytes: length of the packet
 * @published: whether an event was published about it
 */
void packet_rule_count(struct packet_rule *rule, u32 bytes, bool published)
{
	struct packet_counters *counters;

	/* A softirq may interrupt a process that sends. */
	local_bh_disable();
	counters = this_cpu_ptr(rule->counters);
	u64_stats_update_begin(&counters->sync);
	u64_stats_inc(&counters->packets);
	u64_stats_add(&counters->bytes, bytes);
	u64_stats_add(&counters->events, published);
	u64_stats_update_end(&counters->sync);
	local_bh_enable();
}

/**
 * packet_rule_read() - sum the counters of a rule over all CPUs
 * @rule: the rule
 * @packets: returns the number of matching packets
 * @bytes: returns their bytes
 * @events: returns the number of events published about them
 */
void packet_rule_read(const struct packet_rule *rule, u64 *packets, u64 *bytes, u64 *events)
{
	const struct packet_counters *counters;
	unsigned int start;
	u64 p, b, e;
	int cpu;

	*packets = 0;
	*bytes = 0;
	*events = 0;
	for_each_possible_cpu(cpu) {
		counters = per_cpu_ptr(rule->counters, cpu);
		do {
			start = u64_stats_fetch_begin(&counters->sync);
			p = u64_stats_read(&counters->packets);
			b = u64_stats_read(&counters->bytes);
			e = u64_stats_read(&counters->events);
		} while (u64_stats_fetch_retry(&counters->sync, start));
		*packets += p;
		*bytes += b;
		*events += e;
	}
}

/**
 * packet_rule_alloc() - allocate a rule that matches everything and is in no list
 *
 * Return: the rule, or NULL if out of memory.
 */
struct packet_rule *packet_rule_alloc(void)
{
	struct packet_rule *rule;
	int cpu;

	/* Charged to the requester: any user may be root of a namespace. */
	rule = kzalloc(sizeof(*rule), GFP_KERNEL_ACCOUNT);
	if (!rule)
		return NULL;
	rule->counters = alloc_percpu_gfp(struct packet_counters, GFP_KERNEL_ACCOUNT);
	if (!rule->counters) {
		kfree(rule);
		return NULL;
	}
	for_each_possible_cpu(cpu)
		u64_stats_init(&per_cpu_ptr(rule->counters, cpu)->sync);
	return rule;
}

/**
 * packet_rule_free() - free a rule that hooks cannot see
 * @rule: the rule
 */
void packet_rule_free(struct packet_rule *rule)
{
	free_percpu(rule->counters);
	kfree(rule);
}

static void packet_rule_free_rcu(struct rcu_head *head)
{
	packet_rule_free(container_of(head, struct packet_rule, rcu));
}

/**
 * packet_rule_find() - find a rule by its handle
 * @pn: rules of the namespace, locked
 * @handle: the handle
 *
 * Return: the rule, or NULL.
 */
struct packet_rule *packet_rule_find(struct packet_net *pn, u32 handle)
{
	struct packet_rule *rule;

	list_for_each_entry(rule, &pn->rules, list) {
		if (rule->handle == handle)
			return rule;
	}
	return NULL;
}

static void packet_rules_changed(struct packet_net *pn)
{
	if (!++pn->generation) /* 0 disables the check of dumps */
		pn->generation = 1;
}

/**
 * packet_rule_insert() - assign a handle to a rule and insert it
 * @pn: rules of the namespace, locked
 * @rule: a new rule
 * @before: rule to insert it before; NULL: append it
 */
void packet_rule_insert(struct packet_net *pn, struct packet_rule *rule, struct packet_rule *before)
{
	do {
		rule->handle = ++pn->handle;
	} while (!rule->handle || packet_rule_find(pn, rule->handle));
	list_add_tail_rcu(&rule->list, before ? &before->list : &pn->rules);
	pn->count++;
	packet_rules_changed(pn);
}

/**
 * packet_rule_remove() - remove a rule and free it after a grace period
 * @pn: rules of the namespace, locked
 * @rule: one of them
 */
void packet_rule_remove(struct packet_net *pn, struct packet_rule *rule)
{
	list_del_rcu(&rule->list);
	pn->count--;
	packet_rules_changed(pn);
	call_rcu(&rule->rcu, packet_rule_free_rcu);
}

/**
 * packet_rules_flush() - remove all rules
 * @pn: rules of the namespace, locked
 */
void packet_rules_flush(struct packet_net *pn)
{
	struct packet_rule *rule, *next;

	list_for_each_entry_safe(rule, next, &pn->rules, list)
		packet_rule_remove(pn, rule);
}
