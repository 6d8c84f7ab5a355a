"""Waiting for sockets, and waking the waiting thread."""

cimport cython
from libc.errno cimport EINTR, EMFILE, ENOMEM, errno
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free, malloc

from nlbus._abi.socket cimport (
    CLOCK_MONOTONIC, EFD_CLOEXEC, EFD_NONBLOCK, EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLLIN, POLLIN,
    clock_ns, close, epoll_create1, epoll_ctl, epoll_event, eventfd, poll, pollfd, read, write,
)


@cython.final
cdef class Identities:
    """Remembers the objects of a list without keeping them alive."""

    def __cinit__(self, list objects not None):
        cdef Py_ssize_t i
        self.count = len(objects)
        self.pointers = <void **> malloc(self.count * sizeof(void *) + 1)
        if self.pointers == NULL:
            raise OSError(ENOMEM, "malloc")
        for i in range(self.count):
            self.pointers[i] = <void *> objects[i]

    def __dealloc__(self):
        free(self.pointers)

    def same(self, list objects not None):
        """Whether these are the same objects; valid only while all of them are alive."""
        cdef Py_ssize_t i
        if len(objects) != self.count:
            return False
        for i in range(self.count):
            if <void *> objects[i] != self.pointers[i]:
                return False
        return True


@cython.final
cdef class Waker:
    """A set of watched descriptors that one thread waits for. OSError."""

    def __cinit__(self):
        self.epoll = self.call = -1
        self.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        if self.wake < 0:
            raise OSError(errno, "eventfd")
        self.watch(self.wake, POLLIN)

    def __dealloc__(self):
        for fd in (self.wake, self.epoll):
            if fd >= 0:
                close(fd)

    cdef int watch(self, int fd, short events) except -1:
        """Watch this descriptor, too. events: POLLIN, or 0 for errors alone. OSError."""
        if self.count == WATCHED:
            raise OSError(EMFILE, "poll")
        if self.epoll >= 0:
            self.add(fd, EPOLLIN if events else 0)
        self.fds[self.count].fd = fd
        self.fds[self.count].events = events
        self.count += 1
        return 0

    cdef void unwatch(self, int fd) noexcept:
        cdef int i
        for i in range(self.count):
            if self.fds[i].fd == fd:
                self.count -= 1
                self.fds[i] = self.fds[self.count]
                break
        if self.epoll >= 0:
            # Closing the descriptor does not remove it while a fork has it open.
            epoll_ctl(self.epoll, EPOLL_CTL_DEL, fd, NULL)

    cdef int wait(self, int64_t deadline, int64_t *patience) noexcept nogil:
        """1: something to read; CALLED: only `call` is readable; 0: woken; -EINTR: time is up, or it is time
        to look for signals of Unix.

        Those that another thread caught, or that came just before poll, do not interrupt it: so it sleeps for
        `patience` milliseconds at most, each time longer.
        """
        cdef int64_t left
        cdef int i, ready, found = 0
        left = patience[0]
        patience[0] = min(2 * left, MAX_SLEEP)
        if deadline > 0:
            # Round up, to avoid spinning through the last millisecond.
            left = min(left, (max(deadline - clock_ns(CLOCK_MONOTONIC), 0) + 999999) // 1000000)
        ready = poll(self.fds, self.count, <int> left)
        if ready == 0:
            return -EINTR
        if ready < 0:
            return -errno
        for i in range(1, self.count):
            if self.fds[i].revents:
                if self.fds[i].fd != self.call:
                    return 1
                found = CALLED
        return found

    cdef void set(self) noexcept:
        """Wake the waiting thread, and keep fileno() readable until `clear`."""
        cdef uint64_t one = 1
        write(self.wake, &one, sizeof(one))

    cdef void clear(self) noexcept:
        cdef uint64_t count
        read(self.wake, &count, sizeof(count))

    cdef bint is_set(self) noexcept:
        cdef pollfd news
        news.fd = self.wake
        news.events = POLLIN
        return poll(&news, 1, 0) > 0

    cdef int fileno(self) except -1:
        """An epoll descriptor, readable while `wait` would return at once. OSError."""
        cdef int i
        if self.epoll < 0:
            self.epoll = epoll_create1(EPOLL_CLOEXEC)
            if self.epoll < 0:
                raise OSError(errno, "epoll")
            try:
                for i in range(self.count):
                    self.add(self.fds[i].fd, EPOLLIN if self.fds[i].events else 0)
            except OSError:
                close(self.epoll)
                self.epoll = -1
                raise
        return self.epoll

    cdef int add(self, int fd, unsigned int events) except -1:
        cdef epoll_event event
        event.events = events
        event.data.fd = fd
        if epoll_ctl(self.epoll, EPOLL_CTL_ADD, fd, &event) < 0:
            raise OSError(errno, "epoll")
        return 0
