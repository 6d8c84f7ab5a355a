"""The receive core: poll, recvmmsg and walk in one stretch without the GIL."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from posix.types cimport uid_t

from nlbus._abi.netlink cimport sockaddr_nl
from nlbus._abi.socket cimport iovec, mmsghdr
from nlbus._core.arena cimport Block, Pool
from nlbus._core.ledger cimport Ledger
from nlbus._core.walk cimport datagram, walk

cdef enum:
    SPILL = 256 << 10             # more than a default send buffer lets anyone send
    CONTROL = 64                  # SCM_CREDENTIALS and NETLINK_PKTINFO, with their headers
    TRUSTED = 16                  # uids
    WINDOW = 8                    # receives that the prediction looks back


cdef class Receiver:
    cdef int fd
    cdef int wake                 # eventfd: readable when closed, or when somebody called `signal`
    cdef int epoll                # fd and wake, for whoever waits elsewhere
    cdef readonly uint32_t portid
    cdef readonly int kind        # framing
    cdef unsigned int opened_after
    cdef readonly bint closed
    cdef public bint paused       # somebody changes the membership: receive returns at once
    cdef readonly bint busy
    cdef readonly Pool pool
    cdef Block arena
    cdef readonly Ledger ledger

    cdef mmsghdr *slots
    cdef iovec *vectors           # three a slot: head, body, spill
    cdef sockaddr_nl *names
    cdef uint8_t *controls
    cdef datagram *datagrams
    cdef uint8_t *spill
    cdef uint32_t predicted       # bytes of a body slot
    cdef uint8_t *armed_base      # what the slots point at
    cdef uint32_t armed_size
    cdef uint32_t soiled          # slots that the kernel wrote to
    cdef uint32_t window[WINDOW]
    cdef unsigned int turn

    cdef bint trust_kernel
    cdef bint trust_all
    cdef uint32_t user_groups     # where processes are believed, if their uid is
    cdef int trusted
    cdef uid_t uids[TRUSTED]

    cdef walk w
    cdef uint8_t *copied          # from malloc, when the batch was copied
    cdef size_t copied_size
    cdef size_t rows_at
    cdef size_t extent
    cdef bint turned_empty        # the last recvmmsg took all there was
    cdef bint may_pin             # the pool allows to give the arena away
    cdef readonly uint64_t untrusted
    cdef readonly uint64_t truncated
    cdef readonly uint64_t misses  # batches copied because the prediction was too small
    cdef readonly uint64_t dropped        # datagrams, by the socket's counter
    cdef uint64_t charged         # at least this much truesize was received
    cdef uint32_t drops_seen
    cdef int64_t drops_time
    cdef int64_t now

    cdef int fill(self) noexcept nogil
    cdef void arm(self, uint32_t count) noexcept nogil
    cdef bint believed(self, uint32_t slot, datagram *d) noexcept nogil
    cdef void predict(self, uint32_t largest) noexcept nogil
    cdef bint compact(self, uint32_t count, size_t total) noexcept nogil
    cdef int process(self, uint32_t count) noexcept nogil
    cdef void meminfo(self, uint32_t *info) noexcept nogil
    cdef void read_drops(self) noexcept nogil
    cdef int wait(self, int64_t deadline) noexcept nogil
    cdef Block harvest(self)
    cdef Block nothing(self)
    cdef allocate(self)
    cdef prepare(self)
    cdef bint signalled(self)
    cdef int enter(self) except -1
    cdef void leave(self) noexcept
    cdef void free(self) noexcept
