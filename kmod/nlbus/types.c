// SPDX-License-Identifier: GPL-2.0
/* Fingerprints of the events' schemas, by event type: what a Topic of Python looks for. */
#include <linux/slab.h>
#include <linux/xarray.h>

#include "internal.h"

struct nlbus_type {
	u64 fingerprint;
	struct rcu_head rcu;
};

static DEFINE_XARRAY(types);

/* 0: none was registered. */
u64 nlbus_fingerprint(u32 type)
{
	struct nlbus_type *entry;
	u64 fingerprint = 0;

	rcu_read_lock();
	entry = xa_load(&types, type);
	if (entry)
		fingerprint = entry->fingerprint;
	rcu_read_unlock();
	return fingerprint;
}

/**
 * nlbus_register_type() - say what the events of a type look like
 * @type: event type
 * @fingerprint: NLBUS_..._FINGERPRINT of the header that Topic.c_header() wrote
 *
 * Subscribers decode an event as a topic's only if both agree in it. To be called before the first event,
 * in all namespaces the same.
 *
 * Context: Process context, may sleep.
 *
 * Returns: 0; -EBUSY if the type is registered already; -ENOMEM.
 */
int nlbus_register_type(u32 type, u64 fingerprint)
{
	struct nlbus_type *entry = kmalloc(sizeof(*entry), GFP_KERNEL);
	int error;

	if (!entry)
		return -ENOMEM;
	entry->fingerprint = fingerprint;
	error = xa_insert(&types, type, entry, GFP_KERNEL);
	if (error)
		kfree(entry);
	return error;
}
EXPORT_SYMBOL_GPL(nlbus_register_type);

/**
 * nlbus_unregister_type() - forget the fingerprint of a type
 * @type: event type
 *
 * What has been published before still goes out with it.
 *
 * Context: Process context, sleeps until the workers have caught up.
 */
void nlbus_unregister_type(u32 type)
{
	struct nlbus_type *entry;
	struct net *net;

	down_read(&net_rwsem);
	for_each_net(net)
		queue_work(nlbus_wq, &nlbus_pernet(net)->work);
	up_read(&net_rwsem);
	flush_workqueue(nlbus_wq);

	entry = xa_erase(&types, type);
	if (entry)
		kfree_rcu(entry, rcu);
}
EXPORT_SYMBOL_GPL(nlbus_unregister_type);

void nlbus_types_free(void)
{
	struct nlbus_type *entry;
	unsigned long type;

	xa_for_each(&types, type, entry)
		kfree(entry);
	xa_destroy(&types);
}
