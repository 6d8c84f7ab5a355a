"""The receive core: poll, recvmmsg and walk in one stretch without the GIL."""

from libc.stdint cimport uint64_t

from nlbus._core.block cimport Block, Pool
from nlbus._core.receive.arrival cimport Arrival
from nlbus._core.receive.socket cimport Socket
from nlbus._core.receive.waker cimport Waker


cdef class Receiver:
    cdef Socket first
    cdef Socket second            # None: there is but one
    cdef bint later               # it is the second one's turn
    cdef bint at_second           # the last `fill` was from that one
    cdef Arrival arrival          # None: nothing is expected
    cdef readonly bint arrived
    cdef readonly int kind        # framing
    cdef unsigned int opened_after
    cdef readonly bint closed
    cdef public bint paused       # somebody changes the membership: receive returns at once
    cdef readonly bint busy
    cdef bint overtaken           # a signal handler drained what `receive` was waiting for
    cdef readonly unsigned long consumer  # the thread that is, or was, receiving
    cdef readonly Pool pool
    cdef Waker waker              # set when closed, or when somebody called `signal`
    cdef Block arena
    cdef bint may_pin             # the pool allows to give the arena away
    cdef uint64_t open_told       # what the last block said
    cdef object aside             # Event: a consumer left while paused
    cdef public tuple farewell    # messages to the kernel, sent before the socket is closed

    cdef prepare(self)
    cdef void mark(self) noexcept
    cdef bint behind(self) noexcept
    cdef bint has_losses(self) noexcept
    cdef void discard(self) noexcept
    cdef int fill(self) noexcept nogil
    cdef int fill_one(self) noexcept nogil
    cdef Socket at(self)
    cdef Block harvest(self)
    cdef Block nothing(self)
    cdef int enter(self) except -1
    cdef leave(self)
    cdef tell(self, Block block)
    cdef void release(self) noexcept
