"""The kernel's counters of a receiving socket: its buffer, its drops, the events it could not build.

The receiving socket is in NETLINK_NO_ENOBUFS mode, so that an overrun neither ends reception nor discards
what is queued; drops are read from the socket's counter instead. That mode also silences netlink_set_err(),
by which rtnetlink, nfnetlink and generic netlink report that an event was lost before it was sent. A sentinel
hears it: a second socket in default mode, a member of the same groups, whose filter drops every datagram.
"""

cimport cython
from libc.errno cimport errno
from libc.stdint cimport uint32_t, uint64_t

from nlbus._abi.socket cimport (
    CLOCK_REALTIME, SK_MEMINFO_DROPS, SK_MEMINFO_RCVBUF, SK_MEMINFO_RMEM_ALLOC, SK_MEMINFO_VARS, SO_ERROR,
    SO_MEMINFO, SO_RCVBUF, SO_RCVBUFFORCE, SOL_SOCKET, clock_ns, close, getsockopt,
)
from nlbus._core.netsock cimport bind_netlink, drop_all, open_netlink, set_option


@cython.final
cdef class Gauge:
    """fd: a netlink socket, whose buffer is set to `size` bytes and may grow to `limit` after overruns."""

    def __cinit__(self, int fd, size_t size, size_t limit):
        self.fd = fd
        self.sentinel = -1
        self.limit = <uint32_t> limit
        self.forced = set_buffer(fd, size)
        self.time = clock_ns(CLOCK_REALTIME)

    def __dealloc__(self):
        self.release()

    cdef watch(self, int protocol, uint32_t groups):
        """Open the sentinel. OSError."""
        self.sentinel = open_netlink(protocol)
        if drop_all(self.sentinel) < 0:
            raise OSError(errno, "SO_ATTACH_FILTER")
        bind_netlink(self.sentinel, 0, groups)

    cdef uint32_t used(self) noexcept nogil:
        """Bytes of truesize that are queued now."""
        cdef uint32_t info[SK_MEMINFO_VARS]
        if not read_meminfo(self.fd, info):
            return self.granted  # which is no less
        self.granted = info[SK_MEMINFO_RCVBUF]
        return info[SK_MEMINFO_RMEM_ALLOC]

    cdef uint32_t read_drops(self, uint64_t charge, bint ours) noexcept nogil:
        """Datagrams dropped since the last call; at least `charge` bytes were received since. ours: mostly
        believed senders filled the buffer, so it may grow."""
        cdef uint32_t info[SK_MEMINFO_VARS]
        cdef uint32_t news
        if not read_meminfo(self.fd, info):
            return 0
        self.granted = info[SK_MEMINFO_RCVBUF]
        self.peak = max(self.peak, info[SK_MEMINFO_RMEM_ALLOC] + charge)
        news = info[SK_MEMINFO_DROPS] - self.drops_seen
        if news:
            self.drops_seen = info[SK_MEMINFO_DROPS]
            self.dropped += news
            self.peak = max(self.peak, self.granted)
            if ours and self.granted < self.limit:
                self.grow()
        return news

    cdef bint read_error(self) noexcept nogil:
        """Whether the sentinel heard of an event that could not be built, since the last call."""
        cdef int error = 0
        cdef uint32_t length = sizeof(error)
        # Reading it clears it.
        if (self.sentinel < 0 or getsockopt(self.sentinel, SOL_SOCKET, SO_ERROR, &error, &length) < 0
                or error == 0):
            return False
        self.unbuilt += 1
        return True

    cdef void grow(self) noexcept nogil:
        """Double the buffer up to its limit: a buffer that overran once will do so again."""
        cdef uint32_t before = self.granted
        cdef size_t size = min(2 * <size_t> before, <size_t> self.limit)
        if self.forced:
            # Only this way: the process may have given up the privilege since.
            force_buffer(self.fd, size)
        else:
            set_buffer(self.fd, size)
        self.used()
        self.grown += self.granted > before

    cdef void release(self) noexcept:
        if self.sentinel >= 0:
            close(self.sentinel)
        self.sentinel = -1


cdef bint read_meminfo(int fd, uint32_t *info) noexcept nogil:
    cdef uint32_t length = SK_MEMINFO_VARS * sizeof(uint32_t)
    return getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &length) == 0


cdef bint set_buffer(int fd, size_t size) noexcept nogil:
    """Set the receive buffer to `size` bytes (True), or to the most an ordinary user may have."""
    if force_buffer(fd, size):
        return True
    set_option(fd, SOL_SOCKET, SO_RCVBUF, <int> (size // 2))
    return False


cdef bint force_buffer(int fd, size_t size) noexcept nogil:
    # The kernel doubles the value.
    return set_option(fd, SOL_SOCKET, SO_RCVBUFFORCE, <int> (size // 2)) == 0
