"""Streams: all events for one exact set of groups each, numbered, coalesced, and sent."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from nlbus._abi.nlbus cimport nlbus_batch
from nlbus._core.send.multicast cimport Multicast
from nlbus._core.send.pending cimport pending

cdef enum:
    MAX_STREAMS = 1024


cdef struct outgoing:             # one stream: all events for one exact set of groups
    pending waiting               # what was not sent yet
    uint32_t groups
    bint dirty                    # something went out since the last heartbeat
    int64_t due_ns                # CLOCK_MONOTONIC, when `waiting` must go; 0: it is empty
    int64_t sent_ns               # CLOCK_MONOTONIC, of the newest datagram
    uint64_t used                 # a tick of the sender, for eviction
    uint64_t instance
    uint64_t next_seq
    uint64_t next_dgram
    uint32_t repeats              # datagrams that were sent again


cdef class Streams:
    cdef Multicast out
    cdef int timer                # timerfd, for linger and heartbeats
    cdef uint32_t limit           # bytes of a datagram
    cdef int64_t linger_ns
    cdef int64_t armed_ns         # CLOCK_MONOTONIC; 0: not armed
    cdef uint64_t ticks
    cdef outgoing *streams
    cdef uint32_t count
    cdef uint32_t index[2 * MAX_STREAMS]  # by groups; 0 is empty, else position + 1
    cdef uint64_t evicted         # streams
    cdef uint64_t failed          # events that the kernel refused

    cdef void release(self) noexcept
    cdef int publish(self, uint32_t groups, const uint8_t *data, uint64_t count, uint32_t size,
                     const uint8_t *masks, uint32_t type, uint64_t fingerprint) noexcept nogil
    cdef int flush(self, bint last) noexcept nogil
    cdef void tick(self) noexcept nogil
    cdef outgoing *stream(self, uint32_t groups) noexcept nogil
    cdef outgoing *create(self, uint32_t groups) noexcept nogil
    cdef void reindex(self) noexcept nogil
    cdef void restart(self, outgoing *s) noexcept nogil
    cdef int transmit(self, outgoing *s, uint32_t datagrams) noexcept nogil
    cdef int direct(self, uint32_t groups, const uint8_t *data, uint64_t count, uint32_t size,
                    const nlbus_batch *like) noexcept nogil
    cdef int scatter(self, const uint8_t *data, uint64_t count, uint32_t size, const uint8_t *masks,
                     const nlbus_batch *like) noexcept nogil
    cdef int append(self, outgoing *s, const uint8_t *data, uint32_t size,
                    const nlbus_batch *like) noexcept nogil
    cdef int flush_stream(self, outgoing *s) noexcept nogil
    cdef int flush_due(self, int64_t due) noexcept nogil
    cdef int heartbeat(self, outgoing *s) noexcept nogil
    cdef void arm(self, int64_t at) noexcept nogil


cdef inline uint32_t hash_groups(uint32_t groups) noexcept nogil:
    return groups * <uint32_t> 0x9E3779B1U >> 21
