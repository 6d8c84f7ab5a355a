"""The receive core: poll, recvmmsg and walk in one stretch without the GIL."""

from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

from nlbus._core.block cimport Block, Pool
from nlbus._core.receive.arrival cimport Arrival
from nlbus._core.receive.socket cimport Socket
from nlbus._core.receive.waker cimport Waker


cdef class Receiver:
    cdef readonly tuple sockets   # one or two, which these point at:
    cdef PyObject *socket[2]
    cdef int count
    cdef int turn                 # the one that the next `fill` reads first
    cdef int last                 # the one that the last `fill` read
    cdef Arrival arrival          # None: nothing is expected
    cdef readonly bint arrived
    cdef readonly int kind        # framing
    cdef unsigned int opened_after
    cdef readonly bint closed
    cdef public bint paused       # the membership is changing: receive returns at once
    cdef readonly bint busy
    cdef bint overtaken           # a signal handler drained what `receive` was waiting for
    cdef readonly unsigned long consumer  # the thread that is, or was, receiving
    cdef readonly Pool pool
    cdef Waker waker              # set when closed, and by `signal`
    cdef Block arena
    cdef Block spare              # for the copy of a small batch
    cdef bint owing               # something received could not be returned yet
    cdef list drained             # blocks that an interrupted `drain` could not return
    cdef bint may_pin             # the pool allows to give the arena away
    cdef uint64_t reported        # `open` of the last block
    cdef object parked            # Event: a consumer left while paused
    cdef public tuple goodbye     # messages to the kernel, sent before the sockets are closed

    cdef prepare(self)
    cdef void mark(self) noexcept
    cdef bint behind(self) noexcept
    cdef bint has_losses(self) noexcept
    cdef uint64_t known_strangers(self) noexcept
    cdef void discard(self) noexcept
    cdef int fill(self) noexcept nogil
    cdef add(self, Socket socket)
    cdef Socket at(self, int i)
    cdef Block harvest(self)
    cdef Block nothing(self)
    cdef int enter(self) except -1
    cdef leave(self)
    cdef void report(self, Block block, bytes losses) noexcept
    cdef bytes take_losses(self)
    cdef bint unclaimed(self) noexcept
    cdef Block claim(self)
    cdef void release(self) noexcept
