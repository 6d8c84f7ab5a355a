/* SPDX-License-Identifier: GPL-2.0 */
/* All differences between kernel versions, from 6.1 on. */
#ifndef _NLBUS_COMPAT_H
#define _NLBUS_COMPAT_H

#include <linux/hrtimer.h>
#include <linux/timer.h>
#include <linux/version.h>

#if KERNEL_VERSION(6, 1, 0) > LINUX_VERSION_CODE
#error "nlbus needs Linux 6.1 or later"
#endif

#if KERNEL_VERSION(6, 13, 0) > LINUX_VERSION_CODE
static inline void hrtimer_setup(struct hrtimer *timer,
				 enum hrtimer_restart (*function)(struct hrtimer *),
				 clockid_t clock, enum hrtimer_mode mode)
{
	hrtimer_init(timer, clock, mode);
	timer->function = function;
}
#endif

#if KERNEL_VERSION(6, 2, 0) > LINUX_VERSION_CODE
#define timer_delete_sync(timer) del_timer_sync(timer)
#endif

#endif /* _NLBUS_COMPAT_H */
