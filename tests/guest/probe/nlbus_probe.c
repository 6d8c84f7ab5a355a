// SPDX-License-Identifier: GPL-2.0
/*
 * A client of nlbus that tests control, for what nlbus_gen.ko cannot do.
 *
 * /sys/kernel/debug/nlbus_probe takes one line
 *
 *	HOW GROUPS TYPE SIZE COUNT FIRST
 *
 * and reads back as "accepted skipped overflowed refused wrong". It publishes in the network
 * namespace of the writer. Each event is a 64-bit number, counted from FIRST, repeated and
 * truncated to SIZE bytes. HOW is one of
 *
 *	publish		nlbus_publish()
 *	reserve		nlbus_reserve(), nlbus_commit()
 *	discard		the same, but nlbus_discard() for odd numbers
 *	blank		nlbus_reserve() and nlbus_commit() with nothing written
 *	masks		publish without interruption, event N to GROUPS | N << 8
 *	listening	nlbus_listening() only
 *	nmi		publish COUNT events from NMIs that another CPU sends, while this CPU
 *			publishes at least as many with numbers from FIRST + COUNT
 *	register	register the type with fingerprint FIRST
 *	unregister	unregister the type
 */
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/io.h>
#include <linux/module.h>
#include <linux/nsproxy.h>
#include <linux/smp.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>
#include <net/net_namespace.h>
#include <asm/apicdef.h>
#include <asm/nmi.h>
#include <asm/smp.h>

#include "nlbus.h"

#define LARGEST	(NLBUS_MAX_EVENT + 8)

static struct {
	struct net *net;
	char how[16];
	u32 groups;
	u32 type;
	u32 size;
	u32 count;
	u64 first;
} order;

/* The outcomes; atomic, for an NMI may count while its victim does. */
static atomic_t accepted, skipped, overflowed, refused, wrong;

static DEFINE_MUTEX(probe_lock);
static u8 *scratch[2]; /* the second is the NMI's */

static void probe_fill(u8 *to, u64 number)
{
	u32 at;

	for (at = 0; at < order.size; at += sizeof(number))
		memcpy(to + at, &number, min_t(u32, sizeof(number), order.size - at));
}

static void probe_account(int err)
{
	switch (err) {
	case 0:
		atomic_inc(&accepted);
		break;
	case -ESRCH:
		atomic_inc(&skipped);
		break;
	case -ENOBUFS:
		atomic_inc(&overflowed);
		break;
	default:
		atomic_inc(&refused);
	}
}

static void probe_publish(u64 number, u32 groups)
{
	u8 *data = scratch[!!in_nmi()];

	probe_fill(data, number);
	probe_account(nlbus_publish(order.net, groups, order.type, data, order.size));
}

static void probe_publish_masks(void)
{
	unsigned long flags;
	u32 i;

	local_irq_save(flags);
	for (i = 0; i < order.count; i++)
		probe_publish(order.first + i, order.groups | (u32)(order.first + i) << 8);
	local_irq_restore(flags);
}

static void probe_publish_in_place(u64 number)
{
	u8 *event = nlbus_reserve(order.net, order.groups, order.type, order.size);

	if (!event) {
		probe_account(-ENOBUFS);
		return;
	}
	if (!IS_ALIGNED((unsigned long)event, 8))
		atomic_inc(&wrong);
	if (strcmp(order.how, "blank"))
		probe_fill(event, number);
	if (!strcmp(order.how, "discard") && number % 2)
		nlbus_discard(event);
	else
		nlbus_commit(event);
	probe_account(0);
}

static struct {
	struct work_struct work;
	void __iomem *apic;
	unsigned int target;
	u32 handled;
	bool active;
} nmi;

static int probe_handle_nmi(unsigned int kind, struct pt_regs *regs)
{
	if (!READ_ONCE(nmi.active) || raw_smp_processor_id() != nmi.target)
		return NMI_DONE;
	if (!in_nmi())
		atomic_inc(&wrong);
	probe_publish(order.first + nmi.handled, order.groups);
	WRITE_ONCE(nmi.handled, nmi.handled + 1);
	return NMI_HANDLED;
}

static void probe_send_nmis(struct work_struct *unused)
{
	u32 apicid = per_cpu(x86_cpu_to_apicid, nmi.target), sent, patience;
	unsigned long flags;

	for (sent = 1; sent <= order.count && READ_ONCE(nmi.handled) == sent - 1; sent++) {
		/* An interrupt between the two writes could redirect the NMI. */
		local_irq_save(flags);
		writel(SET_XAPIC_DEST_FIELD(apicid), nmi.apic + APIC_ICR2);
		writel(APIC_DM_NMI | APIC_DEST_PHYSICAL, nmi.apic + APIC_ICR);
		local_irq_restore(flags);
		for (patience = 0; READ_ONCE(nmi.handled) < sent && patience < 1000000; patience++)
			udelay(10);
	}
	WRITE_ONCE(nmi.active, false);
}

static int probe_publish_under_nmis(void)
{
	unsigned int here = get_cpu(), other = cpumask_any_but(cpu_online_mask, here);
	u64 number = order.first + order.count;

	put_cpu();
	if (other >= nr_cpu_ids)
		return -ENODEV;
	nmi.apic = ioremap(APIC_DEFAULT_PHYS_BASE, PAGE_SIZE);
	if (!nmi.apic)
		return -ENOMEM;
	nmi.target = here;
	nmi.handled = 0;
	WRITE_ONCE(nmi.active, true);
	schedule_work_on(other, &nmi.work);
	do {
		probe_publish(number++, order.groups);
		cond_resched();
	} while (READ_ONCE(nmi.active) || number < order.first + 2 * order.count);
	flush_work(&nmi.work);
	iounmap(nmi.apic);
	return nmi.handled == order.count ? 0 : -ETIMEDOUT;
}

static int probe_run(void)
{
	u64 number, end = order.first + order.count;

	if (!strcmp(order.how, "register"))
		return nlbus_register_type(order.type, order.first);
	if (!strcmp(order.how, "nmi"))
		return probe_publish_under_nmis();
	if (!strcmp(order.how, "unregister")) {
		nlbus_unregister_type(order.type);
		return 0;
	}
	if (!strcmp(order.how, "masks")) {
		probe_publish_masks();
		return 0;
	}
	for (number = order.first; number < end; number++) {
		if (!strcmp(order.how, "publish"))
			probe_publish(number, order.groups);
		else if (!strcmp(order.how, "listening"))
			probe_account(nlbus_listening(order.net, order.groups) ? 0 : -ESRCH);
		else
			probe_publish_in_place(number);
	}
	return 0;
}

static ssize_t probe_write(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	char line[128] = "";
	int err = -EINVAL;

	if (size >= sizeof(line))
		return -EINVAL;
	if (copy_from_user(line, from, size))
		return -EFAULT;
	mutex_lock(&probe_lock);
	atomic_set(&accepted, 0);
	atomic_set(&skipped, 0);
	atomic_set(&overflowed, 0);
	atomic_set(&refused, 0);
	atomic_set(&wrong, 0);
	if (sscanf(line, "%15s %x %x %u %u %llu", order.how, &order.groups, &order.type,
		   &order.size, &order.count, &order.first) == 6 &&
	    order.size <= LARGEST) {
		order.net = get_net(current->nsproxy->net_ns);
		err = probe_run();
		put_net(order.net);
	}
	mutex_unlock(&probe_lock);
	return err ?: size;
}

static ssize_t probe_read(struct file *file, char __user *to, size_t size, loff_t *at)
{
	char line[80];
	int length = scnprintf(line, sizeof(line), "%d %d %d %d %d\n", atomic_read(&accepted),
			       atomic_read(&skipped), atomic_read(&overflowed),
			       atomic_read(&refused), atomic_read(&wrong));

	return simple_read_from_buffer(to, size, at, line, length);
}

static const struct file_operations probe_fops = {
	.owner = THIS_MODULE,
	.write = probe_write,
	.read = probe_read,
};

static struct dentry *entry;

static int __init probe_init(void)
{
	int err = -ENOMEM, i;

	INIT_WORK(&nmi.work, probe_send_nmis);
	for (i = 0; i < ARRAY_SIZE(scratch); i++) {
		scratch[i] = kzalloc(LARGEST, GFP_KERNEL);
		if (!scratch[i])
			goto out_free;
	}
	err = register_nmi_handler(NMI_LOCAL, probe_handle_nmi, 0, "nlbus_probe");
	if (err)
		goto out_free;
	entry = debugfs_create_file("nlbus_probe", 0600, NULL, NULL, &probe_fops);
	return 0;

out_free:
	kfree(scratch[0]);
	kfree(scratch[1]);
	return err;
}

static void __exit probe_exit(void)
{
	debugfs_remove(entry);
	unregister_nmi_handler(NMI_LOCAL, "nlbus_probe");
	kfree(scratch[0]);
	kfree(scratch[1]);
}

module_init(probe_init);
module_exit(probe_exit);

MODULE_DESCRIPTION("Test client of nlbus");
MODULE_LICENSE("GPL");
