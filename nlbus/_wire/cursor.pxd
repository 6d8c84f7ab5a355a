"""Walking: the macros of <linux/netlink.h> and <net/netlink.h>, by the kernel's names in lower case.

`at` may stand at any alignment: headers are copied out, never dereferenced. `nlmsg_ok` and `nla_ok` are
the only functions that decide whether bytes may be read; all others ask for their yes first:

    while nlmsg_ok(at, remaining):
        ...
        at = nlmsg_next(at, &remaining)
    # remaining != 0: the bytes from `at` on are no message, and where the next would begin is unknown
"""

from libc.stdint cimport uint8_t, uint16_t
from libc.string cimport memcpy

from nlbus._abi.netlink cimport NLA_TYPE_MASK, nlattr, nlmsghdr


# NLMSG_ALIGN: the next multiple of 4.
cdef inline size_t nlmsg_align(size_t length) noexcept nogil:
    return (length + 3) & ~(<size_t> 3)


# NLMSG_LENGTH: what nlmsg_len says for this much payload.
cdef inline size_t nlmsg_length(size_t payload) noexcept nogil:
    return sizeof(nlmsghdr) + payload


# NLMSG_SPACE: what a message of this much payload takes in a chain.
cdef inline size_t nlmsg_space(size_t payload) noexcept nogil:
    return nlmsg_align(nlmsg_length(payload))


# The header, from any alignment. Sixteen bytes must be readable; nothing else is asked.
cdef inline nlmsghdr nlmsg_load(const uint8_t *at) noexcept nogil:
    cdef nlmsghdr head
    memcpy(&head, at, sizeof(nlmsghdr))
    return head


# NLMSG_OK: a whole message stands at `at`. The length is believed only as far as the datagram reaches.
cdef inline bint nlmsg_ok(const uint8_t *at, size_t remaining) noexcept nogil:
    cdef size_t length
    if remaining < sizeof(nlmsghdr):
        return False
    length = nlmsg_load(at).nlmsg_len
    return sizeof(nlmsghdr) <= length <= remaining


# NLMSG_DATA
cdef inline const uint8_t *nlmsg_data(const uint8_t *at) noexcept nogil:
    return at + sizeof(nlmsghdr)


# NLMSG_NEXT. nflog and conntrack end a datagram with an unaligned nlmsg_len: the step stops at the end.
cdef inline const uint8_t *nlmsg_next(const uint8_t *at, size_t *remaining) noexcept nogil:
    cdef size_t step = nlmsg_align(nlmsg_load(at).nlmsg_len)
    if step > remaining[0]:
        step = remaining[0]
    remaining[0] -= step
    return at + step


# NLMSG_PAYLOAD: bytes that follow a family header of `header` bytes, padded. The kernel's macro goes
# below zero where the message is shorter than that; this one stops at zero.
cdef inline size_t nlmsg_payload(const uint8_t *at, size_t header) noexcept nogil:
    cdef size_t length = nlmsg_load(at).nlmsg_len
    cdef size_t before = nlmsg_space(header)
    return length - before if length > before else 0


# NLA_ALIGN
cdef inline size_t nla_align(size_t length) noexcept nogil:
    return (length + 3) & ~(<size_t> 3)


# nla_attr_size: what nla_len says for this much payload.
cdef inline size_t nla_attr_size(size_t payload) noexcept nogil:
    return sizeof(nlattr) + payload


# nla_total_size: what an attribute of this much payload takes, padding included.
cdef inline size_t nla_total_size(size_t payload) noexcept nogil:
    return nla_align(nla_attr_size(payload))


# The header, from any alignment. Four bytes must be readable.
cdef inline nlattr nla_load(const uint8_t *at) noexcept nogil:
    cdef nlattr head
    memcpy(&head, at, sizeof(nlattr))
    return head


# nla_ok: a whole attribute stands at `at`. A length of 4 is one without payload.
cdef inline bint nla_ok(const uint8_t *at, size_t remaining) noexcept nogil:
    cdef size_t length
    if remaining < sizeof(nlattr):
        return False
    length = nla_load(at).nla_len
    return sizeof(nlattr) <= length <= remaining


# nla_next: the last attribute of a message may come without its padding.
cdef inline const uint8_t *nla_next(const uint8_t *at, size_t *remaining) noexcept nogil:
    cdef size_t step = nla_align(nla_load(at).nla_len)
    if step > remaining[0]:
        step = remaining[0]
    remaining[0] -= step
    return at + step


# nla_data
cdef inline const uint8_t *nla_data(const uint8_t *at) noexcept nogil:
    return at + sizeof(nlattr)


# nla_len of the kernel's helpers: bytes of payload. (The header field of that name counts the header.)
cdef inline size_t nla_payload(const uint8_t *at) noexcept nogil:
    return nla_load(at).nla_len - sizeof(nlattr)


# nla_type: without NLA_F_NESTED and NLA_F_NET_BYTEORDER, which old kernel code leaves out anyway.
cdef inline uint16_t nla_type(const uint8_t *at) noexcept nogil:
    return nla_load(at).nla_type & <uint16_t> NLA_TYPE_MASK
