"""Which attributes a message has, and where. Inline, for the column decoder.

Walking is slow, since where an attribute begins is known only when the one before has been read. Where a
message has the shape of an earlier one, its attributes are taken from where they must be.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy

from nlbus._core.columns.program cimport *

cdef enum:
    HEADS = 128                   # attributes of a shape


cdef struct head:
    uint32_t at                   # from the first attribute's
    uint32_t word                 # its nlattr


cdef struct value:                # of a wanted attribute, or an unknown one
    slot *slot
    uint32_t at
    uint32_t size


cdef struct shape:                # which attributes a message has, in all its nests, and where
    size_t length
    int heads
    int values
    head head[HEADS]
    value value[HEADS]


# Whether the same attributes, of the same lengths, are in the same places.
cdef inline bint has_shape(const shape *known, const uint8_t *at, size_t length) noexcept nogil:
    cdef uint32_t word, differs = 0
    cdef int i
    if length != known.length or known.heads > HEADS:
        return False
    for i in range(known.heads):
        memcpy(&word, at + known.head[i].at, sizeof(word))
        differs |= word ^ known.head[i].word
    return differs == 0


# One attribute more. Beyond HEADS of them there is no shape.
cdef inline void learn(shape *known, slot *s, const uint8_t *at, size_t offset, size_t size) noexcept nogil:
    if known.heads >= HEADS:
        known.heads = HEADS + 1
        return
    memcpy(&known.head[known.heads].word, at, sizeof(uint32_t))
    known.head[known.heads].at = <uint32_t> offset
    known.heads += 1
    if s.kind != NEST and s.kind != SKIP:
        known.value[known.values].slot = s
        known.value[known.values].at = <uint32_t> offset + 4
        known.value[known.values].size = <uint32_t> size
        known.values += 1
