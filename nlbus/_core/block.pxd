"""Memory of batches: arenas from a pool, or exact copies."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t

from nlbus._core.receive.walk cimport walk

cdef enum:
    MAX_IDLE = 4                  # arenas kept for reuse; a burst's others go back to the system
    HEAD = 96                     # nlmsghdr and nlbus_batch: the header area of one slot
    SLOTS = 512                   # datagrams in one recvmmsg
    HEADS_SIZE = SLOTS * HEAD
    BODIES_SIZE = 1 << 20         # bytes of bodies in one receive, at most
    # As soon as there are that many, or so few datagrams, one receive is enough: two arenas take turns, and
    # what is read stays in the second-level cache while it is looked at.
    WARM_SIZE = 128 << 10
    FEWEST = 32                   # datagrams that are worth a system call, however large
    ROWS_AT = HEADS_SIZE + BODIES_SIZE
    # Worst case: every 16 bytes of the bodies and heads are a message, with a row of 32 bytes.
    ARENA_SIZE = ROWS_AT + 2 * (BODIES_SIZE + HEADS_SIZE)


cdef enum framing:
    NLMSG                         # chains of netlink messages
    DATAGRAM                      # a datagram is one message without a header (uevents)
    BUS                           # chains of nlbus batches


cdef class Pool:
    cdef readonly size_t limit    # max_memory
    cdef readonly size_t pinned   # bytes that batches hold
    cdef readonly size_t idle     # bytes of arenas that wait for use
    cdef bint closed
    cdef int count
    cdef uint8_t *spare[MAX_IDLE]
    cdef size_t touched[MAX_IDLE]

    cdef Block arena(self)
    cdef Block copy(self, uint8_t *memory, size_t size)
    cdef bint room(self, size_t size) noexcept
    cdef void drop(self) noexcept
    cdef void close(self) noexcept


cdef class Block:
    """Read-only memory of one batch; it goes back where it came from when the last view of it dies."""
    cdef uint8_t *base
    cdef size_t touched           # bytes that are backed by memory, as the pool counts them
    cdef bint mapped              # an arena; else from malloc
    cdef bint leased
    cdef Pool pool
    # What the walk found:
    cdef readonly int kind        # framing
    cdef readonly size_t extent   # bytes of data, from the start of the block
    cdef readonly size_t rows_at  # where the rows stand
    cdef readonly size_t rows     # messages, or batches on the bus
    cdef readonly size_t events   # events on the bus; elsewhere rows
    cdef readonly int64_t time_ns  # UTC, when the recvmmsg returned
    cdef readonly bytes losses    # struct loss_row, as many as were found
    cdef readonly uint64_t open   # dropped datagrams that no gap explains yet
    cdef readonly bint grew       # `open` is more than the block before said
    cdef readonly bint lossy      # any of these is worth telling
    cdef readonly int64_t first   # of uniform messages: offset of the first payload, or -1 ...
    cdef readonly int64_t stride  # ... the distance from each to the next ...
    cdef readonly int64_t length  # ... and of each
    cdef readonly uint16_t flags  # of all netlink messages together

    cdef void lease(self, size_t touched) noexcept
    cdef void walked(self, const walk *found) noexcept
