/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Internals of nlbus_gen.ko.
 *
 *	main.c		module parameters, and a run as a whole
 *	context.c	the contexts that publish
 *	call.c		what they call per event
 */
#ifndef _NLBUS_GEN_H
#define _NLBUS_GEN_H

#include <linux/completion.h>
#include <linux/kprobes.h>
#include <linux/timer.h>
#include <linux/tracepoint.h>

#include "../nlbus/internal.h"

enum gen_context { GEN_PROCESS, GEN_TIMER, GEN_SOFTIRQ, GEN_HARDIRQ, GEN_TRACEPOINT, GEN_NMI };

enum gen_call { GEN_PUBLISH, GEN_RESERVE, GEN_BROADCAST, GEN_LISTENERS, GEN_NOTHING };

/* The module parameters of the same names. */
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
	u64 number;	/* from 0 per thread */
	u32 thread;	/* 0 outside threads */
	u32 cpu;
};

/**
 * struct gen - a run
 * @net:	network namespace to publish in
 * @sk:		nlbus's kernel socket there
 * @events:	one event per thread or CPU
 * @next:	number of the next event, if CPUs share the numbers
 * @taken:	events accepted by nlbus, or received by anybody
 * @skipped:	events without a listener
 * @full:	events refused for lack of room
 * @failed:	events that failed otherwise
 * @busy:	threads still running
 * @done:	all events were published
 * @instance:	instance of the stream of plain broadcasts
 * @hrtimer:	context softirq or hardirq
 * @timer:	context timer
 * @sched_switch: context tracepoint
 * @kprobe:	context nmi
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

/* Outcomes, counted as in struct gen. */
struct gen_tally {
	u64 taken;
	u64 skipped;
	u64 full;
	u64 failed;
};

extern struct gen_settings gen_set;

/* call.c */
void gen_publish(struct gen *g, struct gen_event *event, struct gen_tally *tally);
void gen_add_up(struct gen *g, const struct gen_tally *tally);

/* context.c */
int gen_run(struct gen *g);

#endif /* _NLBUS_GEN_H */
