"""kmod/uapi/nlbus.h: the wire of the bus. The header is the document; the layout is pinned here."""

from libc.stdint cimport uint16_t, uint32_t, uint64_t


cdef extern from "nlbus.h" nogil:
    """
    #include <stddef.h>
    _Static_assert(sizeof(struct nlbus_batch) == 80, "nlbus_batch");
    _Static_assert(offsetof(struct nlbus_batch, fingerprint) == 24, "nlbus_batch.fingerprint");
    _Static_assert(offsetof(struct nlbus_batch, groups) == 64, "nlbus_batch.groups");
    _Static_assert(offsetof(struct nlbus_batch, repeats) == 76, "nlbus_batch.repeats");
    """
    struct nlbus_batch:
        uint32_t magic
        uint16_t version
        uint16_t header_len
        uint32_t flags
        uint32_t record_size
        uint32_t count
        uint32_t type
        uint64_t fingerprint
        uint64_t instance
        uint64_t first_seq
        uint64_t dgram_seq
        uint64_t time_ns
        uint32_t groups
        uint32_t origin_portid
        uint32_t origin_uid
        uint32_t repeats

    enum:
        NLBUS_MSG_BATCH
        NLBUS_VERSION
        NLBUS_F_VAR
        NLBUS_F_TIMES
        NLBUS_F_KNOWN
        NLBUS_GROUPS
        NLBUS_MAX_DATAGRAM
        NLBUS_MAX_COUNT
    const uint32_t NLBUS_MAGIC
