"""Writing captures: rows of a block as packets of a pcapng file."""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from nlbus._core.block cimport message, segment
from nlbus._core.columns.records cimport Selection

cdef enum:
    MAX_INTERFACES = 4096         # a section
    INDEX_SIZE = 2 * MAX_INTERFACES


cdef struct origin:               # what an interface stands for
    uint32_t group
    uint32_t portid
    uint32_t uid
    int32_t nsid


cdef class Packer:
    cdef uint16_t protocol
    cdef int kind                 # framing
    cdef uint64_t packets         # so far
    cdef uint32_t count           # interfaces
    cdef uint32_t numbered        # of these, how many have a number in the section
    cdef uint32_t numbers[MAX_INTERFACES]
    cdef origin origins[MAX_INTERFACES]
    cdef uint16_t index[INDEX_SIZE]  # open addressing; 0 is empty, else position + 1

    cdef origin of(self, Selection rows, Py_ssize_t i) noexcept nogil
    cdef uint32_t find(self, const origin *o) noexcept nogil
    cdef uint32_t room(self, Selection rows, Py_ssize_t i) noexcept nogil
    cdef uint8_t *put(self, uint8_t *to, Selection rows, Py_ssize_t i, uint64_t time_ns) noexcept nogil
    cdef void put_message(self, uint8_t *to, const uint8_t *base, const message *m) noexcept nogil
    cdef void put_batch(self, uint8_t *to, const uint8_t *base, const segment *s,
                        uint32_t body) noexcept nogil
