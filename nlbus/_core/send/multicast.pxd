"""Sending datagrams to every group of a set, with sendmmsg: by ourselves, or by nlbus.ko."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from nlbus._abi.netlink cimport sockaddr_nl
from nlbus._abi.socket cimport iovec, mmsghdr
from nlbus._core.block cimport HEAD

cdef enum:
    VECTOR = 64                   # messages in one sendmmsg
    SHORT = 2048                  # bytes of a datagram that is cheaper to copy than to pass in two parts
    ANSWER = 1024                 # bytes of an answer: a header, the refused header, the extack


cdef class Multicast:
    cdef int fd
    cdef uint32_t portid
    cdef bint relayed             # nlbus.ko passes each datagram to its groups, or answers with a refusal
    cdef bint acked               # it acknowledges each datagram on request
    cdef uint32_t requests        # that requested an answer
    cdef mmsghdr vector[VECTOR]
    cdef sockaddr_nl addresses[32]
    # The datagrams to send: a header and a body each, and how many events they hold.
    cdef iovec parts[VECTOR][2]
    cdef uint8_t heads[VECTOR][HEAD]
    cdef uint64_t counts[VECTOR]
    cdef uint8_t whole[SHORT]     # head and body of a short one
    cdef uint8_t answer[ANSWER]   # that refused something of the last `send`
    cdef size_t answered          # bytes of it

    cdef uint32_t room(self, uint32_t groups) noexcept nogil
    cdef void put(self, uint32_t i, const uint8_t *head, size_t head_len, const uint8_t *body,
                  size_t body_len, uint64_t events) noexcept nogil
    cdef int send(self, uint32_t groups, uint32_t datagrams, uint32_t *taken,
                  uint32_t *repeats) noexcept nogil
    cdef int settled(self, int error, uint32_t *taken) noexcept nogil
    cdef int push_one(self, uint32_t group) noexcept nogil
    cdef int push(self, uint32_t first, uint32_t count) noexcept nogil
    cdef uint32_t refusals(self, int *error) noexcept nogil
    cdef int submit(self, uint32_t datagrams, uint32_t *taken, uint32_t *repeats) noexcept nogil
    cdef int ask(self, uint32_t datagram, uint32_t repeats) noexcept nogil
    cdef int read_answer(self, uint8_t *to, uint32_t *request) noexcept nogil
    cdef void release(self) noexcept
