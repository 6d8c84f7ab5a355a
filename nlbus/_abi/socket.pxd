"""Sockets, polling and mapping, as far as the core uses them."""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from posix.types cimport gid_t, pid_t, uid_t


cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <errno.h>
    #include <linux/filter.h>
    #include <linux/sock_diag.h>
    #include <poll.h>
    #include <pthread.h>
    #include <sched.h>
    #include <sys/epoll.h>
    #include <sys/eventfd.h>
    #include <sys/mman.h>
    #include <sys/random.h>
    #include <sys/socket.h>
    #include <sys/timerfd.h>
    #include <sys/uio.h>
    #include <time.h>
    #include <unistd.h>
    #ifndef SO_MEMINFO
    #define SO_MEMINFO 55
    #endif
    """


cdef extern from "<sys/socket.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len

    struct msghdr:
        void *msg_name
        uint32_t msg_namelen
        iovec *msg_iov
        size_t msg_iovlen
        void *msg_control
        size_t msg_controllen
        int msg_flags

    struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len

    struct cmsghdr:
        size_t cmsg_len
        int cmsg_level
        int cmsg_type

    struct ucred:
        pid_t pid
        uid_t uid
        gid_t gid

    enum:
        AF_NETLINK
        MSG_DONTWAIT
        MSG_TRUNC
        SCM_CREDENTIALS
        SOCK_CLOEXEC
        SOCK_RAW
        SOL_NETLINK
        SOL_SOCKET
        SO_ATTACH_FILTER
        SO_DETACH_FILTER
        SO_ERROR
        SO_MEMINFO
        SO_PASSCRED
        SO_RCVBUF
        SO_RCVBUFFORCE
        SO_SNDBUF

    int socket(int domain, int type, int protocol)
    struct sockaddr:
        pass

    int bind(int fd, const sockaddr *address, uint32_t length)
    int getsockname(int fd, sockaddr *address, uint32_t *length)
    int getsockopt(int fd, int level, int option, void *value, uint32_t *length)
    int setsockopt(int fd, int level, int option, const void *value, uint32_t length)
    ssize_t send(int fd, const void *data, size_t length, int flags)
    ssize_t recvfrom(int fd, void *buffer, size_t length, int flags, sockaddr *address, uint32_t *room)
    int recvmmsg(int fd, mmsghdr *messages, unsigned int count, int flags, void *timeout)
    int sendmmsg(int fd, mmsghdr *messages, unsigned int count, int flags)
    ssize_t sendto(int fd, const void *buffer, size_t length, int flags, const sockaddr *to, uint32_t room)
    cmsghdr *CMSG_FIRSTHDR(msghdr *message)
    cmsghdr *CMSG_NXTHDR(msghdr *message, cmsghdr *control)
    unsigned char *CMSG_DATA(cmsghdr *control)
    size_t CMSG_SPACE(size_t length)


cdef extern from "<linux/sock_diag.h>" nogil:
    enum:
        SK_MEMINFO_RMEM_ALLOC
        SK_MEMINFO_RCVBUF
        SK_MEMINFO_DROPS
        SK_MEMINFO_VARS


cdef extern from "<linux/filter.h>" nogil:
    struct sock_filter:
        unsigned short code
        unsigned char jt
        unsigned char jf
        uint32_t k

    struct sock_fprog:
        unsigned short len
        sock_filter *filter

    enum:
        BPF_ABS
        BPF_B
        BPF_JEQ
        BPF_JMP
        BPF_K
        BPF_LD
        BPF_RET


cdef extern from "<sched.h>" nogil:
    enum:
        CLONE_NEWNET

    int setns(int fd, int kind)


cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents

    enum:
        POLLERR
        POLLIN

    int poll(pollfd *fds, unsigned long count, int timeout_ms)


cdef extern from "<sys/epoll.h>" nogil:
    union epoll_data_t:
        int fd

    struct epoll_event:
        uint32_t events
        epoll_data_t data

    enum:
        EPOLLIN
        EPOLL_CLOEXEC
        EPOLL_CTL_ADD
        EPOLL_CTL_DEL

    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event *event)


cdef extern from "<sys/eventfd.h>" nogil:
    enum:
        EFD_CLOEXEC
        EFD_NONBLOCK

    int eventfd(unsigned int initial, int flags)


cdef extern from "<time.h>" nogil:
    ctypedef long time_t

    struct timespec:
        time_t tv_sec
        long tv_nsec

    struct itimerspec:
        timespec it_interval
        timespec it_value

    enum:
        CLOCK_MONOTONIC
        CLOCK_MONOTONIC_COARSE    # a jiffy's resolution, a fifth of the price
        CLOCK_REALTIME

    int clock_gettime(int clock, timespec *now)


cdef extern from "<sys/timerfd.h>" nogil:
    enum:
        TFD_CLOEXEC
        TFD_NONBLOCK
        TFD_TIMER_ABSTIME

    int timerfd_create(int clock, int flags)
    int timerfd_settime(int fd, int flags, const itimerspec *value, itimerspec *old)


cdef extern from "<sys/mman.h>" nogil:
    enum:
        MADV_DONTNEED
        MADV_HUGEPAGE
        MAP_ANONYMOUS
        MAP_NORESERVE
        MAP_PRIVATE
        PROT_READ
        PROT_WRITE

    void *MAP_FAILED
    void *mmap(void *address, size_t length, int prot, int flags, int fd, long offset)
    int munmap(void *address, size_t length)
    int madvise(void *address, size_t length, int advice)


cdef extern from "<sys/random.h>" nogil:
    ssize_t getrandom(void *buffer, size_t length, unsigned int flags)


cdef extern from "<pthread.h>" nogil:
    int pthread_atfork(void (*prepare)() noexcept nogil, void (*parent)() noexcept nogil,
                       void (*child)() noexcept nogil)


cdef extern from "<fcntl.h>" nogil:
    enum:
        F_SETFL
        O_NONBLOCK

    int fcntl(int fd, int command, int value)


cdef extern from "<unistd.h>" nogil:
    enum:
        F_OK

    int access(const char *path, int mode)
    uint32_t geteuid()
    int close(int fd)
    ssize_t read(int fd, void *buffer, size_t length)
    ssize_t write(int fd, const void *buffer, size_t length)


cdef inline void *reserve(size_t size) noexcept nogil:
    """Address space, backed by memory only where something is written; munmap gives it back. NULL: none."""
    cdef int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
    cdef void *mapped = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0)
    return NULL if mapped == MAP_FAILED else mapped


cdef inline int64_t clock_ns(int clock) noexcept nogil:
    cdef timespec now
    clock_gettime(clock, &now)
    return <int64_t> now.tv_sec * 1000000000 + now.tv_nsec
