"""Building messages and attributes into a given buffer.

A `writer` never passes its end. The first thing that does not fit sets `failed`, and from then on every
call writes nothing and returns NULL or 0: check once, at the end.

    writer_init(&out, buffer, room)
    message = nlmsg_put(&out, type, flags, seq, portid)
    nla_put(&out, attribute, data, length)
    nest = nla_nest_start(&out, attribute)
    ...
    nla_nest_end(&out, nest)
    nlmsg_end(&out, message)
    if not out.failed: ... writer_length(&out) bytes are ready
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy, memset

from nlbus._abi.netlink cimport NLA_F_NESTED, nlattr, nlmsghdr
from nlbus._wire.cursor cimport nla_align, nla_attr_size, nlmsg_align


cdef struct writer:
    uint8_t *start
    uint8_t *at
    uint8_t *end
    bint failed


cdef inline void writer_init(writer *out, uint8_t *start, size_t room) noexcept nogil:
    out.start = start
    out.at = start
    out.end = start + room
    out.failed = False


cdef inline size_t writer_length(const writer *out) noexcept nogil:
    return <size_t> (out.at - out.start)


# Room for `length` bytes, not cleared; NULL where there is none.
cdef inline uint8_t *writer_reserve(writer *out, size_t length) noexcept nogil:
    cdef uint8_t *at = out.at
    if out.failed or length > <size_t> (out.end - at):
        out.failed = True
        return NULL
    out.at = at + length
    return at


# Zeros up to the next multiple of 4, counted from the start of the buffer.
cdef inline void writer_align(writer *out) noexcept nogil:
    cdef size_t length = writer_length(out)
    cdef size_t pad = nlmsg_align(length) - length
    cdef uint8_t *at = writer_reserve(out, pad)
    if at != NULL:
        memset(at, 0, pad)


# A message header; `nlmsg_end` fills in its length. The one before it is padded first: its nlmsg_len
# stays as it was, so that a last message ends unpadded.
cdef inline uint8_t *nlmsg_put(writer *out, uint16_t type, uint16_t flags, uint32_t seq,
                               uint32_t portid) noexcept nogil:
    cdef nlmsghdr head
    cdef uint8_t *at
    writer_align(out)
    at = writer_reserve(out, sizeof(nlmsghdr))
    if at != NULL:
        head.nlmsg_len = sizeof(nlmsghdr)
        head.nlmsg_type = type
        head.nlmsg_flags = flags
        head.nlmsg_seq = seq
        head.nlmsg_pid = portid
        memcpy(at, &head, sizeof(nlmsghdr))
    return at


# Payload of the open message, for the caller to fill: a family header, or all of it.
cdef inline uint8_t *nlmsg_reserve(writer *out, size_t length) noexcept nogil:
    return writer_reserve(out, length)


# Close a message: returns its nlmsg_len, or 0 after a failure.
cdef inline uint32_t nlmsg_end(writer *out, uint8_t *message) noexcept nogil:
    cdef uint32_t length
    if out.failed or message == NULL or <size_t> (out.at - message) > <uint32_t> 0xffffffff:
        out.failed = True
        return 0
    length = <uint32_t> (out.at - message)
    memcpy(message, &length, sizeof(length))
    return length


# An attribute's header and room for `length` bytes, with its padding cleared; returns the room. An
# attribute begins at a multiple of 4, whatever stands before it.
cdef inline uint8_t *nla_reserve(writer *out, uint16_t type, size_t length) noexcept nogil:
    cdef nlattr head
    cdef size_t size
    cdef uint8_t *at
    if length > <size_t> 0xffff - sizeof(nlattr):
        out.failed = True
    writer_align(out)
    size = nla_attr_size(length)
    at = writer_reserve(out, nla_align(size) if not out.failed else 0)
    if at == NULL:
        return NULL
    head.nla_len = <uint16_t> size
    head.nla_type = type
    memcpy(at, &head, sizeof(nlattr))
    memset(at + size, 0, nla_align(size) - size)
    return at + sizeof(nlattr)


cdef inline void nla_put(writer *out, uint16_t type, const void *data, size_t length) noexcept nogil:
    cdef uint8_t *at = nla_reserve(out, type, length)
    if at != NULL and length:
        memcpy(at, data, length)


# Open a nest; what is put until `nla_nest_end` stands inside it. NULL after a failure.
cdef inline uint8_t *nla_nest_start(writer *out, uint16_t type) noexcept nogil:
    cdef uint8_t *at = nla_reserve(out, type | <uint16_t> NLA_F_NESTED, 0)
    return at - sizeof(nlattr) if at != NULL else NULL


# Close a nest. Attributes bring their padding with them, so its length counts that of the last one, as
# the kernel's does. A nest beyond 65535 bytes cannot be said in nla_len: it fails.
cdef inline void nla_nest_end(writer *out, uint8_t *nest) noexcept nogil:
    cdef uint16_t length
    if out.failed or nest == NULL or <size_t> (out.at - nest) > 0xffff:
        out.failed = True
        return
    length = <uint16_t> (out.at - nest)
    memcpy(nest, &length, sizeof(length))
