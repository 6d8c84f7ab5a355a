"""Reading captures: consecutive packets of a pcapng or pcap file to a block."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from nlbus._core.receive.ledger cimport Ledger
from nlbus._core.receive.walk cimport datagram, walk

cdef enum:
    MAX_SOURCES = 256
    PROTOCOLS = 32
    MAX_PACKETS = 1 << 17         # a batch; one that was received live has fewer
    MAX_BYTES = 32 << 20


cdef enum step:                   # what came of looking at the next block
    PACKET
    MORE                          # not all of it is there
    RARE                          # not a packet: for others to read
    NEXT                          # a packet that belongs to the next batch
    DAMAGED
    NO_MEMORY


cdef enum damage:
    UNHARMED
    BLOCK_LENGTH
    LENGTHS_DIFFER
    TOO_SHORT
    NO_INTERFACE
    CAPTURED_LENGTH
    TIME


cdef struct interface:
    uint64_t divisor              # of its timestamps; then there are ...
    uint64_t units                # ... so many to a second, at most 2 ** 33
    int64_t offset_ns             # to be added
    int32_t source                # or BY_PROTOCOL, or SKIPPED
    uint32_t snaplen              # 0: no limit
    uint32_t group
    uint32_t portid
    uint32_t uid
    int32_t nsid


cdef struct source:
    int kind                      # framing
    bint kernel_only              # processes do not multicast there


cdef struct packet:
    const uint8_t *data
    uint32_t captured
    uint32_t original
    int64_t time_ns
    interface *by
    size_t step                   # from this block to the next


cdef class Scanner:
    cdef bint classic             # pcap, not pcapng
    cdef bint swapped             # numbers are in the other byte order
    cdef interface *interfaces
    cdef uint32_t interface_count
    cdef uint32_t interface_room
    cdef source sources[MAX_SOURCES]
    cdef int source_count
    cdef int by_protocol[PROTOCOLS]

    cdef Ledger ledger
    cdef walk w
    cdef readonly bint open       # a batch was begun: of this ...
    cdef readonly int64_t time_ns  # ... time
    cdef readonly int source      # ... and source
    cdef uint8_t *memory          # what it holds, datagram after datagram
    cdef size_t used
    cdef size_t room
    cdef datagram *datagrams      # their `head` is filled in at the end, for the memory may move
    cdef readonly uint32_t gathered  # datagrams
    cdef uint32_t datagram_room

    cdef damage damaged
    cdef readonly size_t wanted   # bytes from the start of the block that was not whole
    cdef readonly uint64_t packets
    cdef readonly uint64_t bytes  # of datagrams
    cdef readonly uint64_t truncated
    cdef readonly uint64_t requests
    cdef readonly uint64_t skipped
    cdef readonly uint64_t short

    cdef uint32_t u32(self, const uint8_t *at) noexcept nogil
    cdef step next(self, const uint8_t *at, size_t left, packet *p) noexcept nogil
    cdef step next_block(self, const uint8_t *at, size_t left, packet *p) noexcept nogil
    cdef step next_record(self, const uint8_t *at, size_t left, packet *p) noexcept nogil
    cdef step fault(self, damage harm) noexcept nogil
    cdef step take_packet(self, const packet *p) noexcept nogil
    cdef int source_of(self, const packet *p) noexcept nogil
    cdef step append(self, const packet *p) noexcept nogil
