"""The loss ledger of a bus subscriber: what each stream delivered, and what is missing."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from nlbus._abi.nlbus cimport nlbus_batch

cdef enum verdict:
    FRESH                         # deliver
    COPY                          # the same datagram by another group
    STRAY                         # contradicts its own stream: malformed


cdef enum cause:
    GAP                           # events of a stream, counted by its sequence numbers
    OVERRUN                       # datagrams, counted by the socket
    UNBUILT                       # an event or more that the kernel could not build


cdef struct stream:
    uint64_t instance
    uint32_t portid
    uint32_t groups
    uint64_t next_dgram
    uint64_t next_seq
    uint64_t delivered            # events
    uint64_t lost                 # events
    uint64_t filtered             # events in gaps that a filter made, or that were lost meanwhile
    int64_t time_ns               # of the newest batch
    uint64_t serial               # of the newest datagram, counting all that this ledger saw
    uint32_t held                 # groups that we were in at the newest datagram, and did not join since
    uint32_t seen                 # copies of the newest datagram that came, since it was last sent
    uint32_t repeats              # how often datagrams were sent again, up to the newest copy that came
    bint left                     # we belong to none of its groups, or have heard nothing since we did
    uint32_t uid


cdef struct loss_row:
    uint64_t stream
    uint64_t count
    int64_t earliest
    int64_t latest
    uint8_t cause
    uint8_t exact


cdef class Ledger:
    cdef public bint gappy      # a filter drops some datagrams of a stream
    cdef stream *streams
    cdef uint32_t *index          # open addressing; 0 is empty, else position + 1
    cdef uint32_t count
    cdef uint64_t serial
    cdef uint32_t members         # groups joined now
    cdef uint32_t stable          # groups joined since before anything that is still queued was sent
    cdef bint unsettled
    cdef loss_row *rows
    cdef size_t row_count
    cdef size_t row_room
    cdef readonly uint64_t lost   # events, ever; never wraps
    cdef readonly uint64_t filtered       # events in gaps that a filter made
    cdef readonly uint64_t lost_datagrams
    cdef readonly uint64_t explained      # drops of the socket that gaps and missing copies explain
    cdef readonly uint64_t evicted        # streams

    cdef verdict see(self, const nlbus_batch *head, uint32_t portid, uint32_t uid,
                     uint32_t group) noexcept nogil
    cdef void missed(self, stream *s, uint64_t missing, uint32_t by) noexcept nogil
    cdef void next_datagram(self) noexcept nogil
    cdef void drained(self) noexcept nogil
    cdef void add_row(self, cause why, uint64_t stream, uint64_t count, bint exact,
                      int64_t earliest, int64_t latest) noexcept nogil
    cdef loss_row *row_for(self, cause why) noexcept nogil
    cdef size_t move_rows(self, loss_row *to) noexcept nogil
    cdef bytes take_rows(self)
    cdef bint may_be_copy(self, uint32_t groups, uint32_t by) noexcept nogil
    cdef stream *find(self, uint32_t portid, uint64_t instance, uint32_t groups) noexcept nogil
    cdef stream *open(self, uint32_t portid, uint32_t uid, uint64_t instance, uint32_t groups) noexcept nogil
    cdef void begin(self, stream *s, const nlbus_batch *head, uint32_t by) noexcept nogil
    cdef void evict(self) noexcept nogil
    cdef void reindex_last(self) noexcept nogil
    cdef void reindex(self) noexcept nogil
