// SPDX-License-Identifier: GPL-2.0
/*
 * nlbus_gen.ko: a load generator for tests and benchmarks.
 *
 *	cd /sys/module/nlbus_gen/parameters
 *	echo hardirq > context; echo 1000000 > count; echo 1 > run; cat run
 *
 * Writing to `run` publishes `count` events in the writer's network namespace and returns when all
 * are published. Reading it reports their outcomes. Each event is a struct gen_event, truncated or
 * padded with zeros to `size` bytes.
 *
 * `call` selects what is measured: publishing, what a module does without nlbus (one broadcast per
 * event, or only a check for listeners), or nothing.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/nsproxy.h>
#include <linux/random.h>
#include <linux/slab.h>

#include "gen.h"

static const char *const gen_contexts[] = {
	"process", "timer", "softirq", "hardirq", "tracepoint", "nmi",
};

static const char *const gen_calls[] = {
	"publish", "reserve", "broadcast", "listeners", "nothing",
};

struct gen_settings gen_set = { .count = 1000, .burst = 1, .size = 64, .groups = 1, .threads = 1 };

static char gen_result[160] = "nothing has run\n";

static void gen_free(struct gen *g)
{
	unsigned int i;

	if (g->events)
		for (i = 0; i < nr_cpu_ids; i++)
			kvfree(g->events[i]);
	kfree(g->events);
	kfree(g);
}

static struct gen *gen_alloc(void)
{
	size_t size = max_t(size_t, gen_set.size, sizeof(struct gen_event));
	struct gen *g = kzalloc(sizeof(*g), GFP_KERNEL);
	unsigned int i;

	if (!g)
		return NULL;
	g->events = kcalloc(nr_cpu_ids, sizeof(*g->events), GFP_KERNEL);
	if (!g->events)
		goto out_free;
	for (i = 0; i < nr_cpu_ids; i++) {
		g->events[i] = kvzalloc(size, GFP_KERNEL);
		if (!g->events[i])
			goto out_free;
	}
	init_completion(&g->done);
	g->instance = get_random_u64();
	return g;
out_free:
	gen_free(g);
	return NULL;
}

static int gen_publish_all(void)
{
	struct gen *g;
	u64 start;
	int err;

	if (!gen_set.count || !gen_set.groups || !gen_set.burst || !gen_set.threads ||
	    gen_set.threads > nr_cpu_ids || gen_set.size > NLBUS_MAX_EVENT)
		return -EINVAL;
	if (gen_set.call == GEN_BROADCAST && (gen_set.context != GEN_PROCESS || !gen_set.size))
		return -EINVAL;
	g = gen_alloc();
	if (!g)
		return -ENOMEM;
	g->net = get_net(current->nsproxy->net_ns);
	g->sk = nlbus_sock(g->net);
	start = ktime_get_ns();
	err = gen_run(g);
	scnprintf(gen_result, sizeof(gen_result),
		  "taken=%lld skipped=%lld full=%lld failed=%lld ns=%llu\n",
		  atomic64_read(&g->taken), atomic64_read(&g->skipped), atomic64_read(&g->full),
		  atomic64_read(&g->failed), ktime_get_ns() - start);
	put_net(g->net);
	gen_free(g);
	return err;
}

/* One lock serializes writes to all parameters of a module, so none changes during a run. */
static int gen_run_set(const char *value, const struct kernel_param *kp)
{
	if (THIS_MODULE->state != MODULE_STATE_LIVE)
		return -EAGAIN;
	return gen_publish_all();
}

static int gen_run_get(char *buffer, const struct kernel_param *kp)
{
	return scnprintf(buffer, PAGE_SIZE, "%s", gen_result);
}

static const struct kernel_param_ops gen_run_ops = { .set = gen_run_set, .get = gen_run_get };

/* A parameter that is one of several names. */
struct gen_choice {
	const char *const *names;
	size_t count;
	unsigned int *at;
};

static int gen_choice_set(const char *value, const struct kernel_param *kp)
{
	const struct gen_choice *choice = kp->arg;
	int at = __sysfs_match_string(choice->names, choice->count, value);

	if (at < 0)
		return at;
	*choice->at = at;
	return 0;
}

static int gen_choice_get(char *buffer, const struct kernel_param *kp)
{
	const struct gen_choice *choice = kp->arg;

	return scnprintf(buffer, PAGE_SIZE, "%s\n", choice->names[*choice->at]);
}

static const struct kernel_param_ops gen_choice_ops = {
	.set = gen_choice_set,
	.get = gen_choice_get,
};

static struct gen_choice gen_context = { gen_contexts, ARRAY_SIZE(gen_contexts), &gen_set.context };
static struct gen_choice gen_call = { gen_calls, ARRAY_SIZE(gen_calls), &gen_set.call };

module_param_cb(run, &gen_run_ops, NULL, 0600);
MODULE_PARM_DESC(run, "write: publish; read: the outcomes");
module_param_cb(context, &gen_choice_ops, &gen_context, 0600);
MODULE_PARM_DESC(context, "process, timer, softirq, hardirq, tracepoint (sched_switch), nmi");
module_param_cb(call, &gen_choice_ops, &gen_call, 0600);
MODULE_PARM_DESC(call, "publish, reserve, broadcast (process only), listeners, nothing");
module_param_named(count, gen_set.count, ulong, 0600);
MODULE_PARM_DESC(count, "events per thread (1000)");
module_param_named(rate, gen_set.rate, ulong, 0600);
MODULE_PARM_DESC(rate, "events per second and thread; 0: no limit (0)");
module_param_named(burst, gen_set.burst, uint, 0600);
MODULE_PARM_DESC(burst, "events per interrupt, NMI or tracepoint hit (1)");
module_param_named(size, gen_set.size, uint, 0600);
MODULE_PARM_DESC(size, "size of an event in bytes (64)");
module_param_named(groups, gen_set.groups, uint, 0600);
MODULE_PARM_DESC(groups, "mask of destination groups (1)");
module_param_named(type, gen_set.type, uint, 0600);
MODULE_PARM_DESC(type, "event type (0)");
module_param_named(threads, gen_set.threads, uint, 0600);
MODULE_PARM_DESC(threads, "kernel threads, each on its own CPU (1)");

static int __init gen_init(void)
{
	return 0;
}

static void __exit gen_exit(void)
{
}

module_init(gen_init);
module_exit(gen_exit);

MODULE_DESCRIPTION("Load generator for nlbus");
MODULE_AUTHOR("The nlbus authors");
MODULE_LICENSE("GPL");
