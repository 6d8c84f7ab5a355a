/*
 * Preloaded: lets the n-th call of one function fail, of those that nlbus's compiled modules make.
 *
 * fault_arm() chooses the function, n and errno; fault_count() says how many such calls there were since, so
 * that a driver knows whether there was an n-th.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>

static char armed[32];
static long nth, calls;
static int number;
static __thread int within;

void fault_arm(const char *function, long n, int error)
{
	armed[0] = 0;
	nth = n;
	number = error;
	calls = 0;
	strncpy(armed, function, sizeof(armed) - 1);
}

long fault_count(void)
{
	armed[0] = 0;
	return calls;
}

/* Whether this call, that returns to `caller`, shall fail. */
static int fails(const char *function, void *caller)
{
	Dl_info info;
	int found;

	if (!armed[0] || within || strcmp(function, armed))
		return 0;
	within = 1; /* dladdr may allocate */
	found = dladdr(caller, &info) && info.dli_fname && strstr(info.dli_fname, "/nlbus/_");
	within = 0;
	if (!found || __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST) != nth)
		return 0;
	errno = number;
	return 1;
}

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);

void *malloc(size_t size)
{
	return fails("malloc", __builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	return fails("calloc", __builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size)
{
	return fails("realloc", __builtin_return_address(0)) ? NULL : __libc_realloc(memory, size);
}

#define WRAP(type, failed, name, parameters, arguments)                                            \
	type name parameters                                                                       \
	{                                                                                          \
		static type(*real) parameters;                                                     \
		if (!real)                                                                         \
			*(void **)&real = dlsym(RTLD_NEXT, #name);                                 \
		return fails(#name, __builtin_return_address(0)) ? (failed) : real arguments;      \
	}

WRAP(void *, MAP_FAILED, mmap, (void *at, size_t size, int prot, int flags, int fd, off_t offset),
     (at, size, prot, flags, fd, offset))
WRAP(void *, MAP_FAILED, mmap64, (void *at, size_t size, int prot, int flags, int fd, off64_t offset),
     (at, size, prot, flags, fd, offset))
WRAP(int, -1, socket, (int domain, int type, int protocol), (domain, type, protocol))
WRAP(int, -1, bind, (int fd, const struct sockaddr *address, socklen_t length), (fd, address, length))
WRAP(int, -1, getsockname, (int fd, struct sockaddr *address, socklen_t *length), (fd, address, length))
WRAP(int, -1, getsockopt, (int fd, int level, int option, void *value, socklen_t *length),
     (fd, level, option, value, length))
WRAP(int, -1, setsockopt, (int fd, int level, int option, const void *value, socklen_t length),
     (fd, level, option, value, length))
WRAP(int, -1, recvmmsg, (int fd, struct mmsghdr *messages, unsigned int count, int flags, struct timespec *timeout),
     (fd, messages, count, flags, timeout))
WRAP(int, -1, sendmmsg, (int fd, struct mmsghdr *messages, unsigned int count, int flags),
     (fd, messages, count, flags))
WRAP(ssize_t, -1, send, (int fd, const void *data, size_t length, int flags), (fd, data, length, flags))
WRAP(ssize_t, -1, sendto,
     (int fd, const void *data, size_t length, int flags, const struct sockaddr *to, socklen_t room),
     (fd, data, length, flags, to, room))
WRAP(int, -1, eventfd, (unsigned int initial, int flags), (initial, flags))
WRAP(int, -1, timerfd_create, (int clock, int flags), (clock, flags))
WRAP(int, -1, timerfd_settime,
     (int fd, int flags, const struct itimerspec *value, struct itimerspec *old), (fd, flags, value, old))
WRAP(int, -1, poll, (struct pollfd *fds, nfds_t count, int timeout), (fds, count, timeout))
WRAP(int, -1, epoll_create1, (int flags), (flags))
WRAP(int, -1, epoll_ctl, (int epoll, int what, int fd, struct epoll_event *event), (epoll, what, fd, event))
WRAP(ssize_t, -1, getrandom, (void *to, size_t length, unsigned int flags), (to, length, flags))
