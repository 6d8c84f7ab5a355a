"""The datagram that a stream is filling: batches of events, built in place."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from nlbus._abi.nlbus cimport nlbus_batch


cdef struct pending:
    uint8_t *next                 # where the next event's bytes go
    uint32_t fast                 # so many events more surely fit, if they are like the last one
    uint32_t count                # events in the open batch; 0: none is open
    uint8_t *slab                 # the datagram, of `limit` bytes
    uint32_t limit
    uint32_t at                   # bytes of complete batches, behind which the open one stands
    uint32_t newest               # where the newest complete one starts
    uint64_t events               # in the complete ones
    nlbus_batch head              # of the open batch
    bint varying                  # its events differ in length
    uint32_t *ends                # where each of them ends; kept if varying
    uint32_t *times               # ns since head.time_ns; kept if `timed`
    bint timed                    # events wait for others: each has a time of its own


cdef bint pending_init(pending *p, uint32_t limit, bint timed) noexcept nogil
cdef void pending_free(pending *p) noexcept nogil
cdef bint pending_add(pending *p, const uint8_t *data, uint32_t size, const nlbus_batch *like) noexcept nogil
cdef uint32_t pending_seal(pending *p, uint32_t groups, uint64_t instance, uint64_t first_seq,
                           uint64_t dgram_seq) noexcept nogil
cdef void pending_clear(pending *p) noexcept nogil
