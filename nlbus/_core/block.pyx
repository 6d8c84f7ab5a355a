"""Memory of batches.

A receive fills an *arena*: address space reserved once, backed by memory only where something was
written. A batch that is worth it keeps the arena it was received in (no copy); a small one is copied to
a block of its exact size, so that a handful of bytes never pins megabytes. An arena is never written
while anything views it: the next receive takes another from the pool.
"""

cimport cython
from libc.errno cimport ENOMEM
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, realloc

from nlbus._abi.nlbus cimport NLBUS_MAX_DATAGRAM, NLBUS_MSG_BATCH
from nlbus._abi.socket cimport munmap, reserve

FRAMINGS = ("nlmsg", "datagram", "bus")  # by Block.kind
HEADER_BYTES = HEAD
MAX_DATAGRAM = NLBUS_MAX_DATAGRAM
MSG_BATCH = NLBUS_MSG_BATCH


@cython.final
cdef class Pool:
    """Arenas of one receiver, bounded by `limit` bytes of real memory."""

    def __cinit__(self, size_t limit):
        self.limit = limit

    def __dealloc__(self):
        self.close()

    cdef Block arena(self):
        """An arena to receive into: a used one if there is any, for its pages are backed already. OSError."""
        cdef Block block = Block.__new__(Block)
        if self.count:
            self.count -= 1
            block.base = self.spare[self.count]
            block.touched = self.touched[self.count]
            self.idle -= block.touched
        else:
            block.base = <uint8_t *> reserve(ARENA_SIZE)
            if block.base == NULL:
                raise OSError(ENOMEM, "mmap")
            block.touched = 0
        block.mapped = True
        block.pool = self
        return block

    cdef bint room(self, size_t size) noexcept:
        """Whether a batch may hold `size` bytes more; idle arenas are given back for it."""
        while self.count and self.pinned + self.idle + size > self.limit:
            self.drop()
        return self.pinned + self.idle + size <= self.limit

    cdef void drop(self) noexcept:
        self.count -= 1
        self.idle -= self.touched[self.count]
        munmap(self.spare[self.count], ARENA_SIZE)

    cdef void close(self) noexcept:
        """Give idle arenas back; those in use follow when their last view dies."""
        self.closed = True
        while self.count:
            self.drop()


@cython.final
@cython.no_gc
cdef class Block:
    cdef void lease(self, size_t touched) noexcept:
        """Count this block as held by a batch."""
        if touched > self.touched:
            self.touched = touched
        if self.pool is not None:
            self.leased = True
            self.pool.pinned += self.touched

    def __dealloc__(self):
        cdef Pool pool = self.pool
        if self.base == NULL:
            return
        if self.leased:
            pool.pinned -= self.touched
        if not self.mapped:
            free(self.base)
        elif (pool.closed or pool.count == MAX_IDLE
              or pool.pinned + pool.idle + self.touched > pool.limit):
            munmap(self.base, ARENA_SIZE)
        else:
            pool.spare[pool.count] = self.base
            pool.touched[pool.count] = self.touched
            pool.idle += self.touched
            pool.count += 1


cdef void block_describe(Block block, int kind, size_t extent, size_t rows_at, const contents *found,
                         int64_t time_ns) noexcept:
    """Say what lies in a block that has its memory."""
    block.kind = kind
    block.extent = extent
    block.rows_at = rows_at
    block.rows = found.rows
    block.events = found.events
    block.first = found.first
    block.stride = found.stride
    block.length = found.length
    block.flags = found.flags
    block.time_ns = time_ns


cdef void block_finish(Block block, uint8_t *memory, int kind, size_t rows_at, const contents *found,
                       int64_t time_ns) noexcept:
    """Let an empty block own `memory`, which malloc gave: data up to the rows. The rest of it is freed."""
    # Never 0, for then realloc would free it: a datagram of 0 bytes has no row either.
    cdef size_t size = max(rows_at + found.rows * row_size(kind), 64)
    cdef uint8_t *shrunk = <uint8_t *> realloc(memory, size)
    block.base = shrunk if shrunk != NULL else memory
    block.lease(size)
    block_describe(block, kind, rows_at, rows_at, found, time_ns)
