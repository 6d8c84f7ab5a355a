// SPDX-License-Identifier: GPL-2.0
/* Module parameters, and what a network namespace has of nlbus. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/ktime.h>
#include <linux/log2.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "compat.h"
#include "internal.h"

/* Below are the kernel's own, and somebody may be there. */
#define MIN_PROTOCOL	(NETLINK_SMC + 1)
#define MAX_PROTOCOL	(MAX_LINKS - 1)

static unsigned int protocol = MAX_PROTOCOL;
module_param(protocol, uint, 0444);
MODULE_PARM_DESC(protocol, "netlink protocol, 23 to 31 (31)");

bool nlbus_open_receive;
module_param_named(open_receive, nlbus_open_receive, bool, 0444);
MODULE_PARM_DESC(open_receive, "receiving needs no CAP_NET_ADMIN (N)");

static unsigned int chain_bytes = NLBUS_MAX_DATAGRAM;
module_param(chain_bytes, uint, 0444);
MODULE_PARM_DESC(chain_bytes, "most bytes of a datagram of several events, 512 to 32448 (32448); a namespace may change it");

static unsigned int linger_us;
module_param(linger_us, uint, 0444);
MODULE_PARM_DESC(linger_us, "microseconds that an event may wait for others, up to 10000000 (0); a namespace may change it");

unsigned int nlbus_buffer_bytes = SZ_256K;
module_param_named(buffer_bytes, nlbus_buffer_bytes, uint, 0444);
MODULE_PARM_DESC(buffer_bytes, "buffer of each CPU and namespace that has subscribers, a power of two, 65536 to 67108864 (262144)");

unsigned int nlbus_net_id __read_mostly;
struct workqueue_struct *nlbus_wq;

/* For nlbus_gen.ko, which compares nlbus with bare netlink. */
struct sock *nlbus_sock(struct net *net)
{
	return nlbus_pernet(net)->sk;
}
EXPORT_SYMBOL_GPL(nlbus_sock);

/* What the first subscriber costs a namespace. */
static int listen(struct nlbus_net *nn)
{
	struct nlbus_streams *streams;
	int error = 0;

	mutex_lock(&nn->setup);
	if (nn->streams)
		goto out;
	error = nlbus_rings_alloc(nn);
	if (error)
		goto out;
	streams = kvzalloc(sizeof(*streams), GFP_KERNEL_ACCOUNT);
	if (!streams) {
		error = -ENOMEM;
		goto out;
	}
	/* The rings before this: now the worker may go through them. */
	smp_store_release(&nn->streams, streams);
out:
	mutex_unlock(&nn->setup);
	return error;
}

/* All namespaces have what they need. The first one's socket already makes the protocol known to every one. */
static bool registered;

/* Called before the subscriber belongs to the group: no event that it should get is taken for unheard. */
static int nlbus_bind(struct net *net, int group)
{
	struct nlbus_net *nn;
	int error;

	/* As before there was the protocol; pairs with nlbus_init(). */
	if (!smp_load_acquire(&registered))
		return -EPROTONOSUPPORT;
	nn = nlbus_pernet(net);
	if (group < 1 || group > NLBUS_GROUPS)
		return -EINVAL;
	error = listen(nn);
	if (error)
		return error;
	spin_lock(&nn->bind_lock);
	nn->bound_ns = ktime_get_ns();
	WRITE_ONCE(nn->listeners, nn->listeners | BIT(group - 1));
	spin_unlock(&nn->bind_lock);
	return 0;
}

static int __net_init nlbus_net_init(struct net *net)
{
	struct netlink_kernel_cfg cfg = {
		.groups = NLBUS_GROUPS,
		.flags = nlbus_open_receive ? NL_CFG_F_NONROOT_RECV : 0,
		.input = nlbus_input,
		.bind = nlbus_bind,
	};
	struct nlbus_net *nn = nlbus_pernet(net);
	struct sock *sk;

	nn->cpu = alloc_percpu(struct nlbus_cpu);
	if (!nn->cpu)
		return -ENOMEM;
	nn->net = net;
	nn->chain_bytes = chain_bytes;
	nn->linger_us = linger_us;
	mutex_init(&nn->setup);
	spin_lock_init(&nn->bind_lock);
	INIT_WORK(&nn->work, nlbus_work);
	hrtimer_setup(&nn->timer, nlbus_timer, CLOCK_MONOTONIC, HRTIMER_MODE_ABS);
	sk = netlink_kernel_create(net, protocol, &cfg);
	if (!sk) {
		free_percpu(nn->cpu);
		return -ENOMEM;
	}
	WRITE_ONCE(nn->sk, sk);
	return 0;
}

/*
 * No socket of the namespace is left, nor anybody who may publish to it. Publishers that came late are waited for
 * between this and nlbus_net_exit(), with RCU.
 */
static void __net_exit nlbus_net_pre_exit(struct net *net)
{
	WRITE_ONCE(nlbus_pernet(net)->listeners, 0);
}

static void __net_exit nlbus_net_exit(struct net *net)
{
	struct nlbus_net *nn = nlbus_pernet(net);

	nlbus_rings_sync(nn);
	/* Each may start the other once more, but the worker sees this first. */
	WRITE_ONCE(nn->closing, true);
	cancel_work_sync(&nn->work);
	hrtimer_cancel(&nn->timer);
	cancel_work_sync(&nn->work);
	/* Nobody could hear the end of the streams. */
	netlink_kernel_release(nn->sk);
	nlbus_streams_free(nn);
	nlbus_rings_free(nn);
	free_percpu(nn->cpu);
}

static struct pernet_operations nlbus_net_ops = {
	.init = nlbus_net_init,
	.pre_exit = nlbus_net_pre_exit,
	.exit = nlbus_net_exit,
	.id = &nlbus_net_id,
	.size = sizeof(struct nlbus_net),
};

static bool within(const char *name, unsigned int value, unsigned int least, unsigned int most)
{
	if (value >= least && value <= most)
		return true;
	pr_err("%s=%u: from %u to %u\n", name, value, least, most);
	return false;
}

static int __init nlbus_init(void)
{
	int error;

	BUILD_BUG_ON(sizeof(struct nlbus_batch) != 80);
	if (!within("protocol", protocol, MIN_PROTOCOL, MAX_PROTOCOL) ||
	    !within("chain_bytes", chain_bytes, NLBUS_MIN_CHAIN, NLBUS_MAX_DATAGRAM) ||
	    !within("linger_us", linger_us, 0, NLBUS_MAX_LINGER_US) ||
	    !within("buffer_bytes", nlbus_buffer_bytes, NLBUS_MIN_BUFFER, NLBUS_MAX_BUFFER))
		return -EINVAL;
	if (!is_power_of_2(nlbus_buffer_bytes)) {
		pr_err("buffer_bytes=%u: a power of two\n", nlbus_buffer_bytes);
		return -EINVAL;
	}
	nlbus_wq = alloc_workqueue("nlbus", WQ_UNBOUND, 0);
	if (!nlbus_wq)
		return -ENOMEM;
	error = register_pernet_subsys(&nlbus_net_ops);
	if (error) {
		pr_err("no socket of netlink protocol %u: another module's (try protocol=%u to %u), or no memory\n",
		       protocol, MIN_PROTOCOL, MAX_PROTOCOL);
		destroy_workqueue(nlbus_wq);
		return error;
	}
	/* What every namespace has, before anybody may join; pairs with nlbus_bind(). */
	smp_store_release(&registered, true);
	return 0;
}

static void __exit nlbus_exit(void)
{
	unregister_pernet_subsys(&nlbus_net_ops);
	destroy_workqueue(nlbus_wq);
	nlbus_types_free();
}

module_init(nlbus_init);
module_exit(nlbus_exit);

MODULE_DESCRIPTION("An event bus over netlink multicast");
MODULE_AUTHOR("The nlbus authors");
MODULE_LICENSE("GPL");
