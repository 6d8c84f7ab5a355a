"""Opening netlink sockets, for receivers and senders."""

from libc.errno cimport ENOENT, errno
from libc.stdint cimport uint32_t
from libc.string cimport memset

from nlbus._abi.netlink cimport sockaddr_nl
from nlbus._abi.socket cimport (
    AF_NETLINK, BPF_K, BPF_RET, CLONE_NEWNET, SO_ATTACH_FILTER, SO_DETACH_FILTER, SOCK_CLOEXEC, SOCK_RAW,
    SOL_SOCKET, bind, getsockname, pthread_atfork, setns, setsockopt, sock_filter, sock_fprog, sockaddr,
    socket,
)

cdef unsigned int fork_count = 0


cdef void count_fork() noexcept nogil:
    global fork_count
    fork_count += 1


cdef unsigned int forks() noexcept nogil:
    """The number of forks down to this process: sockets opened under another number are the parent's."""
    return fork_count


pthread_atfork(NULL, NULL, count_fork)


cdef int set_option(int fd, int level, int option, int value) noexcept nogil:
    return setsockopt(fd, level, option, &value, sizeof(value))


cdef int need_option(int fd, int level, int option, int value, str name) except -1:
    """Set a required option. OSError that names it."""
    if set_option(fd, level, option, value) < 0:
        raise OSError(errno, name)
    return 0


cdef int open_netlink(int protocol) except -1:
    """A socket that is not bound yet. OSError."""
    cdef int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol)
    if fd < 0:
        raise OSError(errno, "socket")
    return fd


cdef uint32_t bind_netlink(int fd, uint32_t portid, uint32_t groups) except? 0:
    """Bind and join in one call; returns the portid. 0 lets the kernel choose one, so that a process may
    have many sockets. OSError."""
    cdef sockaddr_nl address
    cdef uint32_t length = sizeof(address)
    memset(&address, 0, sizeof(address))
    address.nl_family = AF_NETLINK
    address.nl_pid = portid
    address.nl_groups = groups
    if (bind(fd, <sockaddr *> &address, sizeof(address)) < 0
            or getsockname(fd, <sockaddr *> &address, &length) < 0):
        raise OSError(errno, "bind")
    return address.nl_pid


cdef int drop_all(int fd) noexcept nogil:
    """Attach a filter that drops every datagram: that costs neither room nor a drop in the counter."""
    cdef sock_filter nothing
    cdef sock_fprog program
    nothing.code = BPF_RET | BPF_K
    nothing.jt = nothing.jf = 0
    nothing.k = 0
    program.len = 1
    program.filter = &nothing
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program))


cdef int attach_filter(int fd, bytes program) except -1:
    """Filter what the socket receives, from the next datagram on: by an array of struct sock_filter, or b"".

    OSError.
    """
    cdef sock_fprog given
    cdef int nothing = 0
    if not program:
        if setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &nothing, sizeof(nothing)) < 0 and errno != ENOENT:
            raise OSError(errno, "SO_DETACH_FILTER")
        return 0
    given.len = <unsigned short> (len(program) // sizeof(sock_filter))
    given.filter = <sock_filter *> <char *> program
    if setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &given, sizeof(given)) < 0:
        raise OSError(errno, "SO_ATTACH_FILTER")
    return 0


def enter_netns(int fd):
    """Move this thread to the network namespace of this descriptor. OSError."""
    if setns(fd, CLONE_NEWNET) < 0:
        raise OSError(errno, "setns")
