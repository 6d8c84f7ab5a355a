// SPDX-License-Identifier: GPL-2.0
/* The contexts from which nlbus_gen.ko publishes. */
#include <linux/cpu.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "../compat.h"
#include "gen.h"

/* Publish one burst, with preemption disabled. Returns false when no event is left. */
static bool context_shoot(struct gen *g)
{
	struct gen_event *event = g->events[smp_processor_id()];
	struct gen_tally tally = {};
	bool more = true;
	unsigned int i;

	for (i = 0; more && i < gen_set.burst; i++) {
		event->number = atomic64_fetch_inc(&g->next);
		event->cpu = smp_processor_id();
		more = event->number < gen_set.count;
		if (more)
			gen_publish(g, event, &tally);
	}
	gen_add_up(g, &tally);
	return more;
}

static u64 context_period_ns(void)
{
	/* No limit: as often as a timer can fire while the rest of the system makes progress. */
	if (!gen_set.rate)
		return 50 * NSEC_PER_USEC;
	return div64_ul((u64)gen_set.burst * NSEC_PER_SEC, gen_set.rate);
}

struct thread {
	struct gen *g;
	unsigned int index;
};

static int context_thread_fn(void *data)
{
	struct thread *thread = data;
	struct gen *g = thread->g;
	struct gen_event *event = g->events[thread->index];
	u64 start = ktime_get_ns(), due, now, us;
	struct gen_tally tally = {};
	ulong n;

	event->thread = thread->index;
	event->cpu = raw_smp_processor_id();
	for (n = 0; n < gen_set.count; n++) {
		event->number = n;
		gen_publish(g, event, &tally);
		if (!gen_set.rate) {
			if (!(n % 1024))
				cond_resched();
			continue;
		}
		due = start + div64_ul((n + 1ULL) * NSEC_PER_SEC, gen_set.rate);
		now = ktime_get_ns();
		us = due > now ? div64_ul(due - now, NSEC_PER_USEC) : 0;
		if (us > 50)
			usleep_range(us, us + 50);
	}
	gen_add_up(g, &tally);
	kfree(thread);
	if (atomic_dec_and_test(&g->busy))
		complete(&g->done);
	return 0;
}

static int context_run_threads(struct gen *g)
{
	unsigned int i, cpu = cpumask_first(cpu_online_mask);
	struct task_struct *task;
	struct thread *thread;

	atomic_set(&g->busy, 1);
	for (i = 0; i < gen_set.threads; i++) {
		thread = kmalloc(sizeof(*thread), GFP_KERNEL);
		if (!thread)
			break;
		thread->g = g;
		thread->index = i;
		task = kthread_create(context_thread_fn, thread, "nlbus_gen/%u", i);
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
	return i < gen_set.threads ? -ENOMEM : 0;
}

static void context_timer_fn(struct timer_list *timer)
{
	struct gen *g = container_of(timer, struct gen, timer);

	if (context_shoot(g))
		mod_timer(timer, jiffies + max(1UL, nsecs_to_jiffies(context_period_ns())));
	else
		complete(&g->done);
}

static int context_run_timer(struct gen *g)
{
	timer_setup(&g->timer, context_timer_fn, 0);
	mod_timer(&g->timer, jiffies + 1);
	wait_for_completion(&g->done);
	timer_delete_sync(&g->timer);
	return 0;
}

static enum hrtimer_restart context_hrtimer_fn(struct hrtimer *timer)
{
	struct gen *g = container_of(timer, struct gen, hrtimer);

	if (!context_shoot(g)) {
		complete(&g->done);
		return HRTIMER_NORESTART;
	}
	hrtimer_forward_now(timer, ns_to_ktime(context_period_ns()));
	return HRTIMER_RESTART;
}

static int context_run_hrtimer(struct gen *g, enum hrtimer_mode mode)
{
	hrtimer_setup(&g->hrtimer, context_hrtimer_fn, CLOCK_MONOTONIC, mode);
	hrtimer_start(&g->hrtimer, ns_to_ktime(context_period_ns()), mode);
	wait_for_completion(&g->done);
	hrtimer_cancel(&g->hrtimer);
	return 0;
}

/* Runs with the run queue's lock held: waking a task here deadlocks. */
static void context_switch_fn(void *data, ...)
{
	context_shoot(data);
}

static void context_find_switch(struct tracepoint *tp, void *data)
{
	struct gen *g = data;

	if (!strcmp(tp->name, "sched_switch"))
		g->sched_switch = tp;
}

static int context_run_tracepoint(struct gen *g)
{
	int err;

	for_each_kernel_tracepoint(context_find_switch, g);
	if (!g->sched_switch)
		return -ENOENT;
	err = tracepoint_probe_register(g->sched_switch, context_switch_fn, g);
	if (err)
		return err;
	while (atomic64_read(&g->next) < gen_set.count)
		usleep_range(10, 20);
	tracepoint_probe_unregister(g->sched_switch, context_switch_fn, g);
	tracepoint_synchronize_unregister();
	return 0;
}

/* A kernel breakpoint is handled like an NMI; notrace, or the kprobe would use ftrace instead. */
static noinline notrace void context_breakpoint(void)
{
	barrier();
}

static int __kprobes context_nmi_fn(struct kprobe *probe, struct pt_regs *regs)
{
	if (WARN_ON_ONCE(!in_nmi()))
		return 0;
	context_shoot(container_of(probe, struct gen, kprobe));
	return 0;
}

/* A post handler keeps the kernel from replacing the breakpoint by a jump. */
static void context_nmi_post(struct kprobe *probe, struct pt_regs *regs, unsigned long flags)
{
}

static int context_run_nmi(struct gen *g)
{
	int err;

	g->kprobe.addr = (kprobe_opcode_t *)context_breakpoint;
	g->kprobe.pre_handler = context_nmi_fn;
	g->kprobe.post_handler = context_nmi_post;
	err = register_kprobe(&g->kprobe);
	if (err)
		return err;
	while (atomic64_read(&g->next) < gen_set.count) {
		context_breakpoint();
		cond_resched();
	}
	unregister_kprobe(&g->kprobe);
	return 0;
}

int gen_run(struct gen *g)
{
	switch (gen_set.context) {
	case GEN_TIMER:
		return context_run_timer(g);
	case GEN_SOFTIRQ:
		return context_run_hrtimer(g, HRTIMER_MODE_REL_SOFT);
	case GEN_HARDIRQ:
		return context_run_hrtimer(g, HRTIMER_MODE_REL_HARD);
	case GEN_TRACEPOINT:
		return context_run_tracepoint(g);
	case GEN_NMI:
		return context_run_nmi(g);
	default:
		return context_run_threads(g);
	}
}
