"""Waiting for a socket, and being woken from elsewhere."""

from libc.stdint cimport int64_t


cdef enum:
    FIRST_SLEEP = 20              # milliseconds, before looking for signals of Unix
    MAX_SLEEP = 1000


cdef class Identities:
    cdef void **pointers
    cdef Py_ssize_t count


cdef class Waker:
    cdef int fd                   # the receiver's sockets, not ours
    cdef int sentinel
    cdef int wake                 # eventfd: readable when somebody called `set`
    cdef int epoll                # all of them, for whoever waits elsewhere

    cdef int wait(self, int64_t deadline, int64_t *patience) noexcept nogil
    cdef void set(self) noexcept
    cdef void clear(self) noexcept
    cdef bint is_set(self) noexcept
    cdef int fileno(self) except -1
    cdef int add(self, int fd, unsigned int events) except -1
