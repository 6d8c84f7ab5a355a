"""Sending datagrams to every group of a set, with sendmmsg."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from nlbus._abi.netlink cimport sockaddr_nl
from nlbus._abi.socket cimport iovec, mmsghdr
from nlbus._core.arena cimport HEAD

cdef enum:
    VECTOR = 64                   # messages in one sendmmsg


cdef class Multicast:
    cdef int fd
    cdef uint32_t portid
    cdef mmsghdr vector[VECTOR]
    cdef sockaddr_nl addresses[32]
    # The datagrams to send: a header and a body each, and how many events they hold.
    cdef iovec parts[VECTOR][2]
    cdef uint8_t heads[VECTOR][HEAD]
    cdef uint64_t counts[VECTOR]

    cdef void put(self, uint32_t i, const uint8_t *head, size_t head_len, const uint8_t *body,
                  size_t body_len, uint64_t events) noexcept nogil
    cdef int send(self, uint32_t groups, uint32_t datagrams, uint32_t *taken) noexcept nogil
    cdef void release(self) noexcept
