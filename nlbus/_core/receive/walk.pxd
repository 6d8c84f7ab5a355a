"""From datagrams to rows: one pass, whatever the framing."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from nlbus._core.block cimport contents
from nlbus._core.receive.ledger cimport Ledger
from nlbus._core.receive.strangers cimport strangers


cdef struct datagram:
    # HEAD bytes at `head`, the next `body_len` at `body`, the rest at `spill`. Together: body is head + HEAD.
    const uint8_t *head
    const uint8_t *body
    const uint8_t *spill
    uint32_t body_len
    uint32_t length
    uint32_t portid               # the sender as the kernel reports it
    uint32_t uid
    uint32_t group                # 0: unicast, or not known
    int32_t nsid


cdef struct walk:
    const uint8_t *base           # offsets count from here
    void *rows                    # message or segment; room for 2 bytes a byte of input
    contents found
    int64_t next                  # where the next payload would keep them uniform
    uint64_t malformed            # messages
    uint64_t foreign              # messages on the bus that are not nlbus's
    uint64_t copies               # batches that arrived through another group before
    uint64_t unstamped            # batches without their sender's address and uid, from processes
    bint stamped                  # unstamped batches are not believed
    strangers *senders            # who sent them; needed where `stamped`


cdef void walk_start(walk *w, const uint8_t *base, void *rows) noexcept nogil
cdef void walk_nlmsg(walk *w, const datagram *d, size_t count) noexcept nogil
cdef void walk_plain(walk *w, const datagram *d, size_t count) noexcept nogil
cdef void walk_bus(walk *w, const datagram *d, size_t count, Ledger ledger) noexcept nogil
cdef void walk_any(walk *w, int kind, const datagram *d, size_t count, Ledger ledger) noexcept nogil
