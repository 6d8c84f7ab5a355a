"""Waiting for sockets, and waking the waiting thread."""

from libc.stdint cimport int64_t

from nlbus._abi.socket cimport pollfd


cdef enum:
    FIRST_SLEEP = 20              # milliseconds, before looking for signals of Unix
    MAX_SLEEP = 1000
    CALLED = 2                    # what `wait` returns for `call`
    WATCHED = 5                   # two sockets, a sentinel, what else may call, and `wake`


cdef class Identities:
    cdef void **pointers
    cdef Py_ssize_t count


cdef class Waker:
    cdef pollfd fds[WATCHED]      # the first is `wake`; the others are not ours
    cdef int count
    cdef int call                 # the one among them that has nothing to receive
    cdef int wake                 # eventfd: readable when somebody called `set`
    cdef int epoll                # all of them, for poll loops of the caller

    cdef int watch(self, int fd, short events) except -1
    cdef void unwatch(self, int fd) noexcept
    cdef int wait(self, int64_t deadline, int64_t *patience) noexcept nogil
    cdef void set(self) noexcept
    cdef void clear(self) noexcept
    cdef bint is_set(self) noexcept
    cdef int fileno(self) except -1
    cdef int add(self, int fd, unsigned int events) except -1
