"""Opening netlink sockets, for receivers and senders."""

from libc.stdint cimport uint32_t

cdef int open_netlink(int protocol) except -1
cdef uint32_t bind_netlink(int fd, uint32_t portid, uint32_t groups) except? 0
cdef int set_option(int fd, int level, int option, int value) noexcept nogil
cdef int need_option(int fd, int level, int option, int value, str name) except -1
cdef int drop_all(int fd) noexcept nogil
cdef int attach_filter(int fd, bytes program) except -1
cdef unsigned int forks() noexcept nogil
