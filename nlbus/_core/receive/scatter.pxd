"""Scatter receive: one recvmmsg into an arena, so that the bodies of all datagrams are one array."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from posix.types cimport uid_t

from nlbus._abi.netlink cimport sockaddr_nl
from nlbus._abi.socket cimport iovec, mmsghdr
from nlbus._core.receive.strangers cimport strangers
from nlbus._core.receive.walk cimport datagram

cdef enum:
    SPILL = 256 << 10             # more than a default send buffer lets anyone send
    CONTROL = 64                  # SCM_CREDENTIALS and NETLINK_PKTINFO, with their headers: a cache line
    CONTROL_NSID = 96             # and the nsid
    TRUSTED = 16                  # uids
    WINDOW = 8                    # receives that the prediction looks back


cdef class Scatter:
    cdef int kind                 # framing
    cdef uint32_t head            # bytes of a header area: HEAD on the bus, 0 elsewhere
    cdef mmsghdr *slots
    cdef iovec *vectors           # three a slot: head, body, spill
    cdef sockaddr_nl *names
    cdef uint8_t *controls
    cdef size_t control           # bytes of each
    cdef datagram *datagrams      # those of the last receive that are believed
    cdef uint8_t *spill
    cdef uint8_t *armed_base      # what the slots point at
    cdef uint32_t armed_size
    cdef uint32_t soiled          # slots that the kernel wrote to
    cdef uint32_t predicted       # bytes of a body slot
    cdef uint32_t most            # datagrams in one receive
    cdef uint32_t window[WINDOW]
    cdef unsigned int turn

    cdef bint trust_kernel
    cdef bint trust_all
    cdef uint32_t user_groups     # where processes are believed, if their uid is
    cdef int trusted
    cdef uid_t uids[TRUSTED]

    # Of the last receive:
    cdef uint32_t believed        # datagrams
    cdef uint32_t body            # bytes of a body slot
    cdef size_t reach             # bytes from the start of the arena to the end of the last body slot
    cdef size_t total             # bytes that are believed
    cdef bint spilled             # a datagram is larger than its slot
    cdef bint gappy               # one that is not the last is smaller
    cdef bint seam                # a second header would lie across the end of the header area
    cdef bint emptied             # it took all there was
    cdef uint32_t cut             # believed datagrams that exceeded body and spill
    # Since the start:
    cdef uint64_t received        # datagrams
    cdef uint64_t bytes
    cdef uint64_t untrusted       # datagrams
    cdef strangers senders        # of these
    cdef uint64_t truncated       # datagrams

    cdef allocate(self)
    cdef void expect(self, uint32_t size) noexcept nogil
    cdef int receive(self, int fd, uint8_t *base) noexcept nogil
    cdef void arm(self, uint8_t *base, uint32_t count) noexcept nogil
    cdef void classify(self, uint32_t count) noexcept nogil
    cdef uint32_t identify(self, uint32_t slot, datagram *d) noexcept nogil
    cdef void predict(self, uint32_t largest) noexcept nogil
    cdef size_t close_gaps(self, uint8_t *base) noexcept nogil
    cdef uint8_t *copy(self, size_t *rows_at) noexcept nogil
