/* SPDX-License-Identifier: GPL-2.0 */
/*
 * nlbus_gen.ko inside.
 *
 *	gen.c		parameters, and a run from its beginning to its end
 *	gen_context.c	the contexts, from which ...
 *	gen_call.c	... each event is published
 */
#ifndef _NLBUS_GEN_H
#define _NLBUS_GEN_H

#include <linux/completion.h>
#include <linux/kprobes.h>
#include <linux/timer.h>
#include <linux/tracepoint.h>

#include "internal.h"

enum gen_context { GEN_PROCESS, GEN_TIMER, GEN_SOFTIRQ, GEN_HARDIRQ, GEN_TRACEPOINT, GEN_NMI };

enum gen_call { GEN_PUBLISH, GEN_RESERVE, GEN_BROADCAST, GEN_LISTENERS, GEN_NOTHING };

/* The module's parameters of these names. */
struct gen_settings {
	unsigned int context;
	unsigned int call;
	ulong count;
	ulong rate;
	unsigned int burst;
	unsigned int size;
	unsigned int groups;
	unsigned int type;
	unsigned int threads;
};

struct gen_event {
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
	struct gen_event **events;
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

/* What became of events. */
struct gen_tally {
	u64 taken;
	u64 skipped;
	u64 full;
	u64 failed;
};

extern struct gen_settings gen_set;

/* gen_call.c */
void gen_publish(struct gen *g, struct gen_event *event, struct gen_tally *tally);
void gen_add_up(struct gen *g, const struct gen_tally *tally);

/* gen_context.c */
int gen_run(struct gen *g);

#endif /* _NLBUS_GEN_H */
