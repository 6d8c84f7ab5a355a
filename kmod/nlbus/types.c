// SPDX-License-Identifier: GPL-2.0
/* Fingerprints of the events' schemas by event type, which a Topic of Python compares. */
#include <linux/slab.h>
#include <linux/xarray.h>

#include "internal.h"

struct nlbus_type {
	u64 fingerprint;
	struct rcu_head rcu;
};

static DEFINE_XARRAY(types_registered);

/* Returns 0 if the type is not registered. */
u64 nlbus_fingerprint(u32 type)
{
	struct nlbus_type *entry;
	u64 fingerprint = 0;

	rcu_read_lock();
	entry = xa_load(&types_registered, type);
	if (entry)
		fingerprint = entry->fingerprint;
	rcu_read_unlock();
	return fingerprint;
}

/**
 * nlbus_register_type() - register the schema of an event type
 * @type: event type
 * @fingerprint: NLBUS_..._FINGERPRINT of the header that Topic.c_header() wrote
 *
 * Subscribers decode an event by a topic only if their fingerprints agree. Call it before the first
 * event. A type is valid in all namespaces.
 *
 * Context: Process context, may sleep.
 *
 * Return: 0; -EBUSY if the type is already registered; -ENOMEM.
 */
int nlbus_register_type(u32 type, u64 fingerprint)
{
	struct nlbus_type *entry = kmalloc(sizeof(*entry), GFP_KERNEL);
	int err;

	if (!entry)
		return -ENOMEM;
	entry->fingerprint = fingerprint;
	err = xa_insert(&types_registered, type, entry, GFP_KERNEL);
	if (err)
		kfree(entry);
	return err;
}
EXPORT_SYMBOL_GPL(nlbus_register_type);

/**
 * nlbus_unregister_type() - forget the schema of an event type
 * @type: event type
 *
 * Events published before the call still carry the fingerprint.
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

	entry = xa_erase(&types_registered, type);
	if (entry)
		kfree_rcu(entry, rcu);
}
EXPORT_SYMBOL_GPL(nlbus_unregister_type);

void nlbus_types_free(void)
{
	struct nlbus_type *entry;
	unsigned long type;

	xa_for_each(&types_registered, type, entry)
		kfree(entry);
	xa_destroy(&types_registered);
}
