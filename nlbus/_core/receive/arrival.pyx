"""Watching for a kernel module to be loaded.

The kernel sends a uevent once the module is ready; a filter drops all others. Only network namespaces of the
first user namespace receive it: elsewhere a timer expires each second, and the path is checked.
"""

cimport cython
from libc.errno cimport ENOBUFS, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from nlbus._abi.netlink cimport NETLINK_KOBJECT_UEVENT
from nlbus._abi.socket cimport (
    BPF_ABS, BPF_B, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, CLOCK_MONOTONIC, F_OK, F_SETFL, O_NONBLOCK,
    SO_ATTACH_FILTER, SOL_SOCKET, TFD_CLOEXEC, TFD_NONBLOCK, access, close, fcntl, itimerspec, read,
    setsockopt, sock_filter, sock_fprog, timerfd_create, timerfd_settime,
)
from nlbus._core.netsock cimport bind_netlink, open_netlink

cdef enum:
    LONGEST = 64                  # bytes of "add@/module/<name>"
    ASK_NS = 1000000              # between two reads of `fd` without a wake-up
    LOOK_NS = 1000000000


@cython.final
cdef class Arrival:
    """module: its name; path: a file that exists once it is loaded. uevents: whether they arrive. OSError."""

    def __cinit__(self, bytes module not None, bytes path not None, *, bint uevents):
        self.fd = -1
        self.path = path
        self.where = path
        if uevents:
            self.fd = open_netlink(NETLINK_KOBJECT_UEVENT)
            if fcntl(self.fd, F_SETFL, O_NONBLOCK) < 0:
                raise OSError(errno, "fcntl")
            keep_only(self.fd, b"add@/module/" + module + b"\0")
            bind_netlink(self.fd, 0, 1)
        else:
            self.fd = every_second()

    def __dealloc__(self):
        self.release()

    cdef bint due(self, int64_t now, bint ready) noexcept nogil:
        """Whether the module is there. ready: `fd` is readable; now: UTC in ns, roughly."""
        cdef uint8_t news[LONGEST]
        # Unsigned: do not wait because a clock was set back.
        if not ready and <uint64_t> (now - self.asked) < <uint64_t> ASK_NS:
            return False
        self.asked = now
        # Check after an overrun, too.
        while read(self.fd, news, sizeof(news)) >= 0 or errno == ENOBUFS:
            ready = True
        if not ready and <uint64_t> (now - self.looked) < <uint64_t> LOOK_NS:
            return False
        self.looked = now
        return access(self.where, F_OK) == 0

    cdef void release(self) noexcept:
        if self.path is not None and self.fd >= 0:
            close(self.fd)
            self.fd = -1


cdef int keep_only(int fd, bytes start) except -1:
    """Attach a filter that drops all datagrams with another beginning. OSError."""
    cdef sock_filter code[2 * LONGEST + 2]
    cdef sock_fprog program
    cdef Py_ssize_t i, n = len(start)
    if n > LONGEST:
        raise ValueError(f"{start!r}: at most {LONGEST} bytes")
    memset(code, 0, sizeof(code))
    for i in range(n):
        code[2 * i].code = BPF_LD | BPF_B | BPF_ABS
        code[2 * i].k = <uint32_t> i
        code[2 * i + 1].code = BPF_JMP | BPF_JEQ | BPF_K
        code[2 * i + 1].k = <uint8_t> start[i]
        code[2 * i + 1].jf = <unsigned char> (2 * (n - i) - 1)  # to the end
    code[2 * n].code = code[2 * n + 1].code = BPF_RET | BPF_K
    code[2 * n].k = 0xffffffff
    program.len = <unsigned short> (2 * n + 2)
    program.filter = code
    if setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0:
        raise OSError(errno, "SO_ATTACH_FILTER")
    return 0


cdef int every_second() except -1:
    """A timer that is readable each second. OSError."""
    cdef itimerspec when
    cdef int error
    cdef int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)
    if fd < 0:
        raise OSError(errno, "timerfd_create")
    memset(&when, 0, sizeof(when))
    when.it_value.tv_sec = when.it_interval.tv_sec = 1
    if timerfd_settime(fd, 0, &when, NULL) < 0:
        error = errno
        close(fd)
        raise OSError(error, "timerfd_settime")
    return fd
