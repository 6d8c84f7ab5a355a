"""Memory of batches.

A receive fills an *arena*: address space reserved once, backed by memory only where something was
written. A batch that is worth it keeps the arena it was received in (no copy); a small one is copied to
a block of its exact size, so that a handful of bytes never pins megabytes. An arena is never written
while anything views it: the next receive takes another from the pool.
"""

cimport cython
from libc.stdint cimport uint8_t
from libc.stdlib cimport free

from nlbus._abi.socket cimport munmap, reserve


@cython.final
cdef class Pool:
    """Arenas of one receiver, bounded by `limit` bytes of real memory."""

    def __cinit__(self, size_t limit):
        self.limit = limit

    def __dealloc__(self):
        self.close()

    cdef Block arena(self):
        """An arena to receive into: a used one if there is any, for its pages are backed already."""
        cdef Block block = Block.__new__(Block)
        if self.count:
            self.count -= 1
            block.base = self.spare[self.count]
            block.touched = self.touched[self.count]
            self.idle -= block.touched
        else:
            block.base = <uint8_t *> reserve(ARENA_SIZE)
            if block.base == NULL:
                raise MemoryError(f"no address space for an arena of {ARENA_SIZE} bytes")
            block.touched = 0
        block.mapped = True
        block.pool = self
        return block

    cdef Block copy(self, uint8_t *memory, size_t size):
        """A block that owns `memory`, which malloc gave."""
        cdef Block block = Block.__new__(Block)
        block.base = memory
        block.pool = self
        block.lease(size)
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
    cdef void walked(self, const walk *found) noexcept:
        """What the walk over these bytes found."""
        self.rows = found.count
        self.events = found.events
        self.first = found.first
        self.stride = found.stride
        self.length = found.length
        self.flags = found.flags

    cdef void lease(self, size_t touched) noexcept:
        """Count this block as held by a batch."""
        if touched > self.touched:
            self.touched = touched
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
