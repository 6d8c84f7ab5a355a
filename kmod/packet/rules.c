// SPDX-License-Identifier: GPL-2.0
/* The rules of a network namespace: read by hooks under RCU, changed under a lock. */
#include <linux/rculist.h>
#include <linux/slab.h>
#include <net/ipv6.h>

#include "packet.h"

static bool packet_match_ports(const struct packet_ports *ports,
			       const struct nlbus_packet *packet, u16 port)
{
	if (!ports->set)
		return true;
	return packet->flags & NLBUS_PACKET_F_PORTS && port >= ports->first &&
	       port <= ports->last;
}

/* Names, not numbers: a rule outlives its interface, and finds it again. */
static bool packet_match_device(const char *name, const struct net_device *dev)
{
	return !name[0] || (dev && !strncmp(dev->name, name, IFNAMSIZ));
}

static bool packet_match_prefix(const u8 *address, const struct in6_addr *prefix,
				u8 length)
{
	return ipv6_prefix_equal((const struct in6_addr *)address, prefix,
				 length);
}

static bool packet_match(const struct packet_rule *rule,
			 const struct nlbus_packet *packet,
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
 * packet_rules_match() - the first rule that matches; RCU is held by the hook
 * @pn: the namespace's rules
 * @packet: the packet
 * @state: the hook, with its interfaces
 *
 * Return: the rule, or NULL.
 */
struct packet_rule *packet_rules_match(struct packet_net *pn,
				       const struct nlbus_packet *packet,
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
 * packet_rule_tells() - whether a packet that the rule matched is told
 * @rule: the rule
 *
 * Return: of sampling true for the first of every N, whatever the CPU.
 */
bool packet_rule_tells(struct packet_rule *rule)
{
	if (rule->action != NLBUS_PACKET_SAMPLE)
		return true;
	return (u32)atomic_fetch_inc(&rule->turn) % rule->sample == 0;
}

/**
 * packet_rule_count() - count a packet that the rule matched
 * @rule: the rule
 * @bytes: of the packet
 * @told: whether an event of it was published
 */
void packet_rule_count(struct packet_rule *rule, u32 bytes, bool told)
{
	struct packet_counters *counters;

	/* Packets sent by processes may be interrupted by others. */
	local_bh_disable();
	counters = this_cpu_ptr(rule->counters);
	u64_stats_update_begin(&counters->sync);
	u64_stats_inc(&counters->packets);
	u64_stats_add(&counters->bytes, bytes);
	u64_stats_add(&counters->events, told);
	u64_stats_update_end(&counters->sync);
	local_bh_enable();
}

/**
 * packet_rule_read() - the counters of a rule
 * @rule: the rule
 * @packets: where to put the number of packets that matched
 * @bytes: ... of their bytes
 * @events: ... of events told
 */
void packet_rule_read(const struct packet_rule *rule, u64 *packets, u64 *bytes,
		      u64 *events)
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
 * packet_rule_alloc() - a rule that is in no list and matches everything
 *
 * Return: the rule, or NULL without memory.
 */
struct packet_rule *packet_rule_alloc(void)
{
	struct packet_rule *rule;
	int cpu;

	/* Charged to whoever asks: a user may be root of a namespace. */
	rule = kzalloc(sizeof(*rule), GFP_KERNEL_ACCOUNT);
	if (!rule)
		return NULL;
	rule->counters = alloc_percpu_gfp(struct packet_counters,
					  GFP_KERNEL_ACCOUNT);
	if (!rule->counters) {
		kfree(rule);
		return NULL;
	}
	for_each_possible_cpu(cpu)
		u64_stats_init(&per_cpu_ptr(rule->counters, cpu)->sync);
	return rule;
}

/**
 * packet_rule_free() - free a rule that no hook can see
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
 * packet_rule_find() - the rule of a handle; the lock is held
 * @pn: the namespace's rules
 * @handle: its handle
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
	if (!++pn->generation)	/* to a dump, 0 is no generation */
		pn->generation = 1;
}

/**
 * packet_rule_insert() - give a rule a handle and put it in the list; the lock
 * is held
 * @pn: the namespace's rules
 * @rule: a new rule
 * @before: one of them; NULL: it comes last
 */
void packet_rule_insert(struct packet_net *pn, struct packet_rule *rule,
			struct packet_rule *before)
{
	do {
		rule->handle = ++pn->handle;
	} while (!rule->handle || packet_rule_find(pn, rule->handle));
	list_add_tail_rcu(&rule->list, before ? &before->list : &pn->rules);
	pn->count++;
	packet_rules_changed(pn);
}

/**
 * packet_rule_remove() - take a rule out of the list and free it; the lock is
 * held
 * @pn: the namespace's rules
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
 * packet_rules_flush() - remove all rules; the lock is held
 * @pn: the namespace's rules
 */
void packet_rules_flush(struct packet_net *pn)
{
	struct packet_rule *rule, *next;

	list_for_each_entry_safe(rule, next, &pn->rules, list)
		packet_rule_remove(pn, rule);
}
