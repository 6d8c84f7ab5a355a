// SPDX-License-Identifier: GPL-2.0
/* The contexts from which nlbus_gen.ko publishes. */
#include <linux/cpu.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "compat.h"
#include "gen.h"

/* In whatever context, preemption off: some of the events. Returns false when there are no more. */
static bool shoot(struct gen *g)
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

static u64 period_ns(void)
{
	/* Flat out: as often as a timer can interrupt without anything else coming to a stop. */
	return gen_set.rate ? div64_ul((u64)gen_set.burst * NSEC_PER_SEC, gen_set.rate) : 50 * NSEC_PER_USEC;
}

struct thread {
	struct gen *g;
	unsigned int index;
};

static int publish_thread(void *data)
{
	struct thread *thread = data;
	struct gen *g = thread->g;
	struct gen_event *event = g->events[thread->index];
	u64 start = ktime_get_ns(), ahead, now;
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
		ahead = start + div64_ul((n + 1) * NSEC_PER_SEC, gen_set.rate);
		now = ktime_get_ns();
		if (ahead > now + 50 * NSEC_PER_USEC)
			usleep_range((ahead - now) / NSEC_PER_USEC, (ahead - now) / NSEC_PER_USEC + 50);
	}
	gen_add_up(g, &tally);
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
	for (i = 0; i < gen_set.threads; i++) {
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
	return i < gen_set.threads ? -ENOMEM : 0;
}

static void timer_shot(struct timer_list *timer)
{
	struct gen *g = container_of(timer, struct gen, timer);

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
	struct gen *g = container_of(timer, struct gen, hrtimer);

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
	while (atomic64_read(&g->next) < gen_set.count)
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
	while (atomic64_read(&g->next) < gen_set.count) {
		stumble();
		cond_resched();
	}
	unregister_kprobe(&g->kprobe);
	return 0;
}

int gen_run(struct gen *g)
{
	switch (gen_set.context) {
	case GEN_TIMER:
		return run_timer(g);
	case GEN_SOFTIRQ:
		return run_hrtimer(g, HRTIMER_MODE_REL_SOFT);
	case GEN_HARDIRQ:
		return run_hrtimer(g, HRTIMER_MODE_REL_HARD);
	case GEN_TRACEPOINT:
		return run_tracepoint(g);
	case GEN_NMI:
		return run_nmi(g);
	default:
		return run_threads(g);
	}
}
