"""Sending datagrams to every group of a set, with sendmmsg.

The kernel sends to one group a call (the lowest bit of nl_groups), so a datagram for k groups takes k
messages. NETLINK_USERSOCK has no kernel socket: a multicast is followed by a unicast, and one to portid 0
would answer ECONNREFUSED though the multicast was delivered, and stop sendmmsg. So the unicast is addressed
to ourselves, where a filter drops it.
"""

cimport cython
from libc.errno cimport EINTR, errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from nlbus._abi.bits cimport ctz
from nlbus._abi.netlink cimport sockaddr_nl
from nlbus._abi.socket cimport AF_NETLINK, close, sendmmsg
from nlbus._core.netsock cimport bind_netlink, drop_all, open_netlink


@cython.final
cdef class Multicast:
    def __cinit__(self, int protocol, uint32_t portid):
        cdef int i
        self.fd = -1
        self.fd = open_netlink(protocol)
        if drop_all(self.fd) < 0:
            raise OSError(errno, "SO_ATTACH_FILTER")
        self.portid = bind_netlink(self.fd, portid, 0)
        for i in range(32):
            self.addresses[i].nl_family = AF_NETLINK
            self.addresses[i].nl_pid = self.portid
            self.addresses[i].nl_groups = <uint32_t> 1 << i
        for i in range(VECTOR):
            self.vector[i].msg_hdr.msg_namelen = sizeof(sockaddr_nl)
            self.vector[i].msg_hdr.msg_iovlen = 2

    def __dealloc__(self):
        self.release()

    cdef void put(self, uint32_t i, const uint8_t *head, size_t head_len, const uint8_t *body,
                  size_t body_len, uint64_t events) noexcept nogil:
        """Datagram i of the next `send`."""
        self.parts[i][0].iov_base = <void *> head
        self.parts[i][0].iov_len = head_len
        self.parts[i][1].iov_base = <void *> body
        self.parts[i][1].iov_len = body_len
        self.counts[i] = events

    cdef int send(self, uint32_t groups, uint32_t datagrams, uint32_t *taken) noexcept nogil:
        """Send the first `datagrams` (times groups: at most VECTOR), each to every group before the next one.

        0 or -errno; `taken` of them were accepted for one group at least.
        """
        cdef uint32_t d, rest, n = 0, done = 0, each
        cdef int sent
        for d in range(datagrams):
            rest = groups
            while rest:
                self.vector[n].msg_hdr.msg_name = &self.addresses[ctz(rest)]
                self.vector[n].msg_hdr.msg_iov = self.parts[d]
                rest &= rest - 1
                n += 1
        each = n // datagrams
        taken[0] = datagrams
        while done < n:
            sent = sendmmsg(self.fd, &self.vector[done], n - done, 0)
            if sent > 0:
                done += sent
            elif errno != EINTR:
                taken[0] = (done + each - 1) // each
                return -errno
        return 0

    cdef void release(self) noexcept:
        if self.fd >= 0:
            close(self.fd)
        self.fd = -1
