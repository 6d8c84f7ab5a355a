// SPDX-License-Identifier: GPL-2.0
/* Module parameters, and the setup of nlbus in a network namespace. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/ktime.h>
#include <linux/log2.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "../compat.h"
#include "internal.h"

/* Lower protocols belong to the kernel. */
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
MODULE_PARM_DESC(chain_bytes,
		 "largest datagram of several events in bytes, 512 to 32448 (32448); can be changed per namespace");

static unsigned int linger_us;
module_param(linger_us, uint, 0444);
MODULE_PARM_DESC(linger_us,
		 "longest time in microseconds that an event waits for others, up to 10000000 (0); can be changed per namespace");

unsigned int nlbus_buffer_bytes = SZ_256K;
module_param_named(buffer_bytes, nlbus_buffer_bytes, uint, 0444);
MODULE_PARM_DESC(buffer_bytes,
		 "buffer in bytes per CPU and namespace that has subscribers, a power of two, 65536 to 67108864 (262144)");

unsigned int nlbus_net_id __read_mostly;
struct workqueue_struct *nlbus_wq;

/* For nlbus_gen.ko, which compares nlbus with plain netlink. */
struct sock *nlbus_sock(struct net *net)
{
	return nlbus_pernet(net)->sk;
}
EXPORT_SYMBOL_GPL(nlbus_sock);

/* Allocate what a namespace needs from its first subscriber on. */
static int nlbus_net_listen(struct nlbus_net *nn)
{
	struct nlbus_streams *streams;
	int err = 0;

	mutex_lock(&nn->setup);
	if (nn->streams)
		goto out;
	err = nlbus_rings_alloc(nn);
	if (err)
		goto out;
	streams = kvzalloc(sizeof(*streams), GFP_KERNEL_ACCOUNT);
	if (!streams) {
		err = -ENOMEM;
		goto out;
	}
	/* The rings before the streams: the worker may walk them now. */
	smp_store_release(&nn->streams, streams);
out:
	mutex_unlock(&nn->setup);
	return err;
}

/* All namespaces are set up. The first one's socket makes the protocol known in all of them. */
static bool nlbus_registered;

/* Called before the subscriber joins the group, so that no event of its membership is skipped. */
static int nlbus_bind(struct net *net, int group)
{
	struct nlbus_net *nn;
	int err;

	/* As if the protocol did not exist yet; pairs with nlbus_init(). */
	if (!smp_load_acquire(&nlbus_registered))
		return -EPROTONOSUPPORT;
	nn = nlbus_pernet(net);
	if (group < 1 || group > NLBUS_GROUPS)
		return -EINVAL;
	err = nlbus_net_listen(nn);
	if (err)
		return err;
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
 * The namespace has no sockets any more and may have no publishers. An RCU grace period between
 * this and nlbus_net_exit() waits for those that are still running.
 */
static void __net_exit nlbus_net_pre_exit(struct net *net)
{
	WRITE_ONCE(nlbus_pernet(net)->listeners, 0);
}

static void __net_exit nlbus_net_exit(struct net *net)
{
	struct nlbus_net *nn = nlbus_pernet(net);

	nlbus_rings_sync(nn);
	/* Work and timer may start each other once more, until the work sees this. */
	WRITE_ONCE(nn->closing, true);
	cancel_work_sync(&nn->work);
	hrtimer_cancel(&nn->timer);
	cancel_work_sync(&nn->work);
	/* Nobody is left to receive final heartbeats. */
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

static bool nlbus_param_valid(const char *name, u32 value, u32 least, u32 most)
{
	if (value >= least && value <= most)
		return true;
	pr_err("%s=%u: from %u to %u\n", name, value, least, most);
	return false;
}

static int __init nlbus_init(void)
{
	int err;

	BUILD_BUG_ON(sizeof(struct nlbus_batch) != 80);
	if (!nlbus_param_valid("protocol", protocol, MIN_PROTOCOL, MAX_PROTOCOL) ||
	    !nlbus_param_valid("chain_bytes", chain_bytes, NLBUS_MIN_CHAIN, NLBUS_MAX_DATAGRAM) ||
	    !nlbus_param_valid("linger_us", linger_us, 0, NLBUS_MAX_LINGER_US) ||
	    !nlbus_param_valid("buffer_bytes", nlbus_buffer_bytes, NLBUS_MIN_BUFFER,
			       NLBUS_MAX_BUFFER))
		return -EINVAL;
	if (!is_power_of_2(nlbus_buffer_bytes)) {
		pr_err("buffer_bytes=%u: a power of two\n", nlbus_buffer_bytes);
		return -EINVAL;
	}
	nlbus_wq = alloc_workqueue("nlbus", WQ_UNBOUND, 0);
	if (!nlbus_wq)
		return -ENOMEM;
	err = register_pernet_subsys(&nlbus_net_ops);
	if (err) {
		pr_err("no socket of netlink protocol %u: another module's (try protocol=%u to %u), or no memory\n",
		       protocol, MIN_PROTOCOL, MAX_PROTOCOL);
		destroy_workqueue(nlbus_wq);
		return err;
	}
	/* Namespaces are set up before anybody joins; pairs with nlbus_bind(). */
	smp_store_release(&nlbus_registered, true);
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
