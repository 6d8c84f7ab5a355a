// SPDX-License-Identifier: GPL-2.0
/*
 * nlbus_gen.ko: a load of events, for tests and measurements.
 *
 *	cd /sys/module/nlbus_gen/parameters
 *	echo hardirq > context; echo 1000000 > count; echo 1 > run; cat run
 *
 * Writing to `run` publishes `count` events to the writer's network namespace, and
 * returns when that is done. Reading it tells what became of them. Each event is a
 * struct event, cut or filled with zeros to `size` bytes.
 *
 * Beside publishing, `call` may be what one would do without nlbus: broadcast an
 * skb for each event, or just ask whether somebody listens; or nothing at all.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/completion.h>
#include <linux/cpu.h>
#include <linux/delay.h>
#include <linux/kprobes.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/nsproxy.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/tracepoint.h>

#include "compat.h"
#include "internal.h"

enum context { PROCESS, TIMER, SOFTIRQ, HARDIRQ, TRACEPOINT, NMI };

static const char *const contexts[] = { "process", "timer", "softirq", "hardirq", "tracepoint", "nmi" };

enum call { PUBLISH, RESERVE, BROADCAST, LISTENERS, NOTHING };

static const char *const calls[] = { "publish", "reserve", "broadcast", "listeners", "nothing" };

static unsigned int context;
static unsigned int call;
static ulong count = 1000;
static ulong rate;
static unsigned int burst = 1;
static unsigned int size = 64;
static unsigned int groups = 1;
static unsigned int type;
static unsigned int threads = 1;

struct event {
	u64 number;	/* from 0, each thread's own */
	u32 thread;	/* or 0 */
	u32 cpu;
};

/**
 * struct gen - a run
 * @net:	the namespace
 * @sk:		nlbus's own socket there
 * @events:	room for one, a thread or a CPU
 * @next:	number of the next event, where any CPU may publish it
 * @taken:	events that nlbus took, or somebody got
 * @skipped:	nobody listened
 * @full:	no room
 * @failed:	anything else
 * @busy:	threads that are not through
 * @done:	@count events are through
 * @instance:	of the stream, where each event is broadcast by itself
 * @hrtimer:	for softirq and hardirq
 * @timer:	for timer
 * @sched_switch: for tracepoint
 * @kprobe:	for nmi
 */
struct gen {
	struct net *net;
	struct sock *sk;
	struct event **events;
	atomic64_t next;
	atomic64_t taken;
	atomic64_t skipped;
	atomic64_t full;
	atomic64_t failed;
	atomic_t busy;
	struct completion done;
	u64 instance;
	struct hrtimer hrtimer;
	struct timer_list timer;
	struct tracepoint *sched_switch;
	struct kprobe kprobe;
};

static struct gen *running;
static char result[160] = "nothing has run\n";

static int reserve(struct gen *g, const struct event *event)
{
	void *room = nlbus_reserve(g->net, groups, type, size);

	if (!room)
		return nlbus_listening(g->net, groups) ? -ENOBUFS : -ESRCH;
	memcpy(room, event, size);
	nlbus_commit(room);
	return 0;
}

/* What a module does that has netlink and nothing else: an skb an event, the same bytes as of a batch of one. */
static int broadcast(struct gen *g, const struct event *event)
{
	struct nlbus_batch head = {
		.record_size = size,
		.count = 1,
		.type = type,
		.instance = g->instance + event->thread,
		.first_seq = event->number,
		.dgram_seq = event->number,
		.time_ns = ktime_get_real_ns(),
		.groups = groups,
		.magic = NLBUS_MAGIC,
		.version = NLBUS_VERSION,
		.header_len = sizeof(head),
	};
	u32 left = groups, group;
	struct nlmsghdr *nlh;
	struct sk_buff *skb;
	int error = 0;

	skb = nlmsg_new(sizeof(head) + size, GFP_KERNEL);
	if (!skb)
		return -ENOMEM;
	nlh = nlmsg_put(skb, 0, 0, NLBUS_MSG_BATCH, sizeof(head) + size, 0);
	if (!nlh) {
		nlmsg_free(skb);
		return -EMSGSIZE;
	}
	memcpy(nlmsg_data(nlh), &head, sizeof(head));
	memcpy(nlmsg_data(nlh) + sizeof(head), event, size);
	while (left) {
		group = nlbus_next_group(&left);
		NETLINK_CB(skb).dst_group = group;
		error = netlink_broadcast(g->sk, left ? skb_get(skb) : skb, 0, group, GFP_KERNEL) ?: error;
	}
	return error;
}

static int listeners(struct gen *g)
{
	u32 left = groups;
	int any = 0;

	while (left)
		any |= netlink_has_listeners(g->sk, nlbus_next_group(&left));
	return any ? 0 : -ESRCH;
}

static int do_call(struct gen *g, const struct event *event)
{
	switch (call) {
	case PUBLISH:
		return nlbus_publish(g->net, groups, type, event, size);
	case RESERVE:
		return reserve(g, event);
	case BROADCAST:
		return broadcast(g, event);
	case LISTENERS:
		return listeners(g);
	default:
		return 0;
	}
}

struct tally {
	u64 taken, skipped, full, failed;
};

static void one(struct gen *g, struct event *event, struct tally *tally)
{
	int error = do_call(g, event);

	tally->taken += !error;
	tally->skipped += error == -ESRCH;
	tally->full += error == -ENOBUFS;
	tally->failed += error && error != -ESRCH && error != -ENOBUFS;
}

static void add_up(struct gen *g, const struct tally *tally)
{
	atomic64_add(tally->taken, &g->taken);
	atomic64_add(tally->skipped, &g->skipped);
	atomic64_add(tally->full, &g->full);
	atomic64_add(tally->failed, &g->failed);
}

/* In whatever context, preemption off: some of the events. Returns false when there are no more. */
static bool shoot(struct gen *g)
{
	struct event *event = g->events[smp_processor_id()];
	struct tally tally = {};
	bool more = true;
	unsigned int i;

	for (i = 0; more && i < burst; i++) {
		event->number = atomic64_fetch_inc(&g->next);
		event->cpu = smp_processor_id();
		more = event->number < count;
		if (more)
			one(g, event, &tally);
	}
	add_up(g, &tally);
	return more;
}

static u64 period_ns(void)
{
	/* Flat out: as often as a timer can interrupt without anything else coming to a stop. */
	return rate ? div64_ul((u64)burst * NSEC_PER_SEC, rate) : 50 * NSEC_PER_USEC;
}

struct thread {
	struct gen *g;
	unsigned int index;
};

static int publish_thread(void *data)
{
	struct thread *thread = data;
	struct gen *g = thread->g;
	struct event *event = g->events[thread->index];
	u64 start = ktime_get_ns(), ahead, now;
	struct tally tally = {};
	ulong n;

	event->thread = thread->index;
	event->cpu = raw_smp_processor_id();
	for (n = 0; n < count; n++) {
		event->number = n;
		one(g, event, &tally);
		if (!rate) {
			if (!(n % 1024))
				cond_resched();
			continue;
		}
		ahead = start + div64_ul((n + 1) * NSEC_PER_SEC, rate);
		now = ktime_get_ns();
		if (ahead > now + 50 * NSEC_PER_USEC)
			usleep_range((ahead - now) / NSEC_PER_USEC, (ahead - now) / NSEC_PER_USEC + 50);
	}
	add_up(g, &tally);
	kfree(thread);
	if (atomic_dec_and_test(&g->busy))
		complete(&g->done);
	return 0;
}

static int run_threads(struct gen *g)
{
	unsigned int i, cpu = cpumask_first(cpu_online_mask);
	struct task_struct *task;
	struct thread *thread;

	atomic_set(&g->busy, 1);
	for (i = 0; i < threads; i++) {
		thread = kmalloc(sizeof(*thread), GFP_KERNEL);
		if (!thread)
			break;
		thread->g = g;
		thread->index = i;
		task = kthread_create(publish_thread, thread, "nlbus_gen/%u", i);
		if (IS_ERR(task)) {
			kfree(thread);
			break;
		}
		kthread_bind(task, cpu);
		cpu = cpumask_next(cpu, cpu_online_mask);
		if (cpu >= nr_cpu_ids)
			cpu = cpumask_first(cpu_online_mask);
		atomic_inc(&g->busy);
		wake_up_process(task);
	}
	if (atomic_dec_and_test(&g->busy))
		complete(&g->done);
	wait_for_completion(&g->done);
	return i < threads ? -ENOMEM : 0;
}

static void timer_shot(struct timer_list *timer)
{
	struct gen *g = running;

	if (shoot(g))
		mod_timer(timer, jiffies + max(1UL, nsecs_to_jiffies(period_ns())));
	else
		complete(&g->done);
}

static int run_timer(struct gen *g)
{
	timer_setup(&g->timer, timer_shot, 0);
	mod_timer(&g->timer, jiffies + 1);
	wait_for_completion(&g->done);
	timer_delete_sync(&g->timer);
	return 0;
}

static enum hrtimer_restart hrtimer_shot(struct hrtimer *timer)
{
	struct gen *g = running;

	if (!shoot(g)) {
		complete(&g->done);
		return HRTIMER_NORESTART;
	}
	hrtimer_forward_now(timer, ns_to_ktime(period_ns()));
	return HRTIMER_RESTART;
}

static int run_hrtimer(struct gen *g, enum hrtimer_mode mode)
{
	hrtimer_setup(&g->hrtimer, hrtimer_shot, CLOCK_MONOTONIC, mode);
	hrtimer_start(&g->hrtimer, ns_to_ktime(period_ns()), mode);
	wait_for_completion(&g->done);
	hrtimer_cancel(&g->hrtimer);
	return 0;
}

/* With the run queue's lock held: whoever would wake somebody up here, waits for ever. */
static void switch_shot(void *data, ...)
{
	shoot(data);
}

static void find_switch(struct tracepoint *tp, void *data)
{
	struct gen *g = data;

	if (!strcmp(tp->name, "sched_switch"))
		g->sched_switch = tp;
}

static int run_tracepoint(struct gen *g)
{
	int error;

	for_each_kernel_tracepoint(find_switch, g);
	if (!g->sched_switch)
		return -ENOENT;
	error = tracepoint_probe_register(g->sched_switch, switch_shot, g);
	if (error)
		return error;
	while (atomic64_read(&g->next) < count)
		usleep_range(10, 20);
	tracepoint_probe_unregister(g->sched_switch, switch_shot, g);
	tracepoint_synchronize_unregister();
	return 0;
}

/* A breakpoint in the kernel is handled as an NMI is; notrace, or the probe were a call. */
static noinline notrace void stumble(void)
{
	barrier();
}

static int __kprobes nmi_shot(struct kprobe *probe, struct pt_regs *regs)
{
	if (WARN_ON_ONCE(!in_nmi()))
		return 0;
	shoot(container_of(probe, struct gen, kprobe));
	return 0;
}

/* Where there is one, the kernel replaces the breakpoint by a jump. */
static void nmi_after(struct kprobe *probe, struct pt_regs *regs, unsigned long flags)
{
}

static int run_nmi(struct gen *g)
{
	int error;

	g->kprobe.addr = (kprobe_opcode_t *)stumble;
	g->kprobe.pre_handler = nmi_shot;
	g->kprobe.post_handler = nmi_after;
	error = register_kprobe(&g->kprobe);
	if (error)
		return error;
	while (atomic64_read(&g->next) < count) {
		stumble();
		cond_resched();
	}
	unregister_kprobe(&g->kprobe);
	return 0;
}

static int run_in_context(struct gen *g)
{
	switch (context) {
	case TIMER:
		return run_timer(g);
	case SOFTIRQ:
		return run_hrtimer(g, HRTIMER_MODE_REL_SOFT);
	case HARDIRQ:
		return run_hrtimer(g, HRTIMER_MODE_REL_HARD);
	case TRACEPOINT:
		return run_tracepoint(g);
	case NMI:
		return run_nmi(g);
	default:
		return run_threads(g);
	}
}

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
	struct gen *g = kzalloc(sizeof(*g), GFP_KERNEL);
	unsigned int i;

	if (!g)
		return NULL;
	g->events = kcalloc(nr_cpu_ids, sizeof(*g->events), GFP_KERNEL);
	if (!g->events)
		goto err;
	for (i = 0; i < nr_cpu_ids; i++) {
		g->events[i] = kvzalloc(max_t(size_t, size, sizeof(struct event)), GFP_KERNEL);
		if (!g->events[i])
			goto err;
	}
	init_completion(&g->done);
	g->instance = get_random_u64();
	return g;
err:
	gen_free(g);
	return NULL;
}

static int run(void)
{
	struct gen *g;
	u64 start;
	int error;

	if (!count || !groups || !burst || !threads || threads > nr_cpu_ids || size > NLBUS_MAX_EVENT)
		return -EINVAL;
	if (call == BROADCAST && (context != PROCESS || !size))
		return -EINVAL;
	g = gen_alloc();
	if (!g)
		return -ENOMEM;
	g->net = get_net(current->nsproxy->net_ns);
	g->sk = nlbus_sock(g->net);
	running = g;
	start = ktime_get_ns();
	error = run_in_context(g);
	scnprintf(result, sizeof(result), "taken=%lld skipped=%lld full=%lld failed=%lld ns=%llu\n",
		  atomic64_read(&g->taken), atomic64_read(&g->skipped), atomic64_read(&g->full),
		  atomic64_read(&g->failed), ktime_get_ns() - start);
	put_net(g->net);
	gen_free(g);
	return error;
}

/* All parameters of a module are changed under one lock, so nothing changes while this runs. */
static int run_set(const char *value, const struct kernel_param *kp)
{
	if (THIS_MODULE->state != MODULE_STATE_LIVE)
		return -EAGAIN;
	return run();
}

static int run_get(char *buffer, const struct kernel_param *kp)
{
	return scnprintf(buffer, PAGE_SIZE, "%s", result);
}

static const struct kernel_param_ops run_ops = { .set = run_set, .get = run_get };

static int context_set(const char *value, const struct kernel_param *kp)
{
	int at = sysfs_match_string(contexts, value);

	if (at < 0)
		return at;
	context = at;
	return 0;
}

static int context_get(char *buffer, const struct kernel_param *kp)
{
	return scnprintf(buffer, PAGE_SIZE, "%s\n", contexts[context]);
}

static const struct kernel_param_ops context_ops = { .set = context_set, .get = context_get };

static int call_set(const char *value, const struct kernel_param *kp)
{
	int at = sysfs_match_string(calls, value);

	if (at < 0)
		return at;
	call = at;
	return 0;
}

static int call_get(char *buffer, const struct kernel_param *kp)
{
	return scnprintf(buffer, PAGE_SIZE, "%s\n", calls[call]);
}

static const struct kernel_param_ops call_ops = { .set = call_set, .get = call_get };

module_param_cb(run, &run_ops, NULL, 0600);
MODULE_PARM_DESC(run, "write: publish; read: what came of it");
module_param_cb(context, &context_ops, NULL, 0600);
MODULE_PARM_DESC(context, "process, timer, softirq, hardirq, tracepoint (sched_switch), nmi");
module_param_cb(call, &call_ops, NULL, 0600);
MODULE_PARM_DESC(call, "publish, reserve, broadcast (process only), listeners, nothing");
module_param(count, ulong, 0600);
MODULE_PARM_DESC(count, "events, of each thread (1000)");
module_param(rate, ulong, 0600);
MODULE_PARM_DESC(rate, "events a second, of each thread; 0: flat out (0)");
module_param(burst, uint, 0600);
MODULE_PARM_DESC(burst, "events at once, outside processes (1)");
module_param(size, uint, 0600);
MODULE_PARM_DESC(size, "bytes of an event (64)");
module_param(groups, uint, 0600);
MODULE_PARM_DESC(groups, "mask of groups (1)");
module_param(type, uint, 0600);
MODULE_PARM_DESC(type, "event type (0)");
module_param(threads, uint, 0600);
MODULE_PARM_DESC(threads, "kernel threads, a CPU each (1)");

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
