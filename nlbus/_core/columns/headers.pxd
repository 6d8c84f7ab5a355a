"""The headers of a packet, from its network header on: IPv4, IPv6, ARP, TCP, UDP and others. Inline.

A packet may end anywhere, for only a part of it was copied: a field that does not lie in what was copied, or
not in what the headers before it leave, has no value. Nothing is read behind the end.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy

cdef extern from *:
    """
    static const unsigned char nlbus_ipv4_mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    """
    const uint8_t *IPV4_MAPPED "nlbus_ipv4_mapped"

cdef enum:
    MOST_EXTENSIONS = 16          # headers between IPv6's and the transport's that are stepped over
    MOST_TAGS = 2                 # of VLANs


cdef enum:  # fields of headers
    H_IP_VERSION
    H_SRC
    H_DST
    H_PROTOCOL
    H_SPORT
    H_DPORT
    H_TCP_FLAGS
    H_TCP_SEQ
    H_TCP_ACK
    H_TCP_WINDOW
    H_ICMP_TYPE
    H_ICMP_CODE
    H_ICMP_ID
    H_ICMP_SEQ
    H_ARP_OP
    H_LENGTH
    H_TTL
    H_TOS
    H_IP_ID
    H_IP_FLAGS
    H_FRAG_OFFSET
    H_FLOW_LABEL
    H_DATA_OFFSET
    H_FIELDS


cdef enum:
    ETH_IPV4 = 0x0800
    ETH_ARP = 0x0806
    ETH_VLAN = 0x8100
    ETH_IPV6 = 0x86dd
    ETH_QINQ = 0x88a8
    # IPPROTO_*:
    P_HOPOPTS = 0
    P_ICMP = 1
    P_TCP = 6
    P_UDP = 17
    P_DCCP = 33
    P_ROUTING = 43
    P_FRAGMENT = 44
    P_AH = 51
    P_ICMPV6 = 58
    P_DSTOPTS = 60
    P_SCTP = 132
    P_UDPLITE = 136


cdef struct target:               # where the values of a field of headers go
    uint8_t *data
    uint8_t *valid
    int64_t mask                  # of the row: 0 if the column is not wanted, or has no memory yet


cdef struct headers:
    const target *fields          # by their numbers
    int64_t row
    bint wide                     # IPv6
    const uint8_t *at             # the packet, from its network header
    size_t copied                 # bytes of it
    size_t tags                   # bytes before it


cdef inline uint32_t two(const uint8_t *at) noexcept nogil:
    return at[0] << 8 | at[1]


cdef inline uint32_t four(const uint8_t *at) noexcept nogil:
    return <uint32_t> at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3]


# Values of one byte, of two, of four: as wide as PACKET_FIELDS of program.pyx says.
cdef inline void know1(headers *h, int number, uint32_t value) noexcept nogil:
    cdef const target *f = &h.fields[number]
    cdef int64_t row = h.row & f.mask
    f.valid[row] = 1
    f.data[row] = <uint8_t> value


cdef inline void know2(headers *h, int number, uint32_t value) noexcept nogil:
    cdef const target *f = &h.fields[number]
    cdef int64_t row = h.row & f.mask
    cdef uint16_t u16 = <uint16_t> value
    f.valid[row] = 1
    memcpy(f.data + 2 * row, &u16, 2)


cdef inline void know4(headers *h, int number, uint32_t value) noexcept nogil:
    cdef const target *f = &h.fields[number]
    cdef int64_t row = h.row & f.mask
    f.valid[row] = 1
    memcpy(f.data + 4 * row, &value, 4)


cdef inline void know_address(headers *h, int number, size_t start, size_t size) noexcept nogil:
    cdef const target *f = &h.fields[number]
    cdef int64_t row = h.row & f.mask
    f.valid[row] = 1
    if size == 4:
        memcpy(f.data + 16 * row, IPV4_MAPPED, 12)
        memcpy(f.data + 16 * row + 12, h.at + start, 4)
    else:
        memcpy(f.data + 16 * row, h.at + start, 16)


# Whether so many bytes from `start` were copied.
cdef inline bint holds(const headers *h, size_t start, size_t size) noexcept nogil:
    return start <= h.copied and size <= h.copied - start


cdef inline void addresses(headers *h, size_t src, size_t dst, size_t size) noexcept nogil:
    if holds(h, src, size):
        know_address(h, H_SRC, src, size)
    if holds(h, dst, size):
        know_address(h, H_DST, dst, size)


# The header behind that of IP, and where data begin behind it.
cdef inline void dissect_transport(headers *h, int protocol, size_t at) noexcept nogil:
    cdef uint32_t kind, size
    if (protocol == P_TCP or protocol == P_UDP or protocol == P_UDPLITE or protocol == P_SCTP
            or protocol == P_DCCP):
        if holds(h, at, 2):
            know2(h, H_SPORT, two(h.at + at))
        if holds(h, at, 4):
            know2(h, H_DPORT, two(h.at + at + 2))
    if protocol == P_TCP:
        if holds(h, at, 16):
            know4(h, H_TCP_SEQ, four(h.at + at + 4))
            know4(h, H_TCP_ACK, four(h.at + at + 8))
            know2(h, H_TCP_FLAGS, two(h.at + at + 12) & 0x1ff)
            know2(h, H_TCP_WINDOW, two(h.at + at + 14))
            size = (h.at[at + 12] >> 4) * 4
            if size >= 20 and holds(h, at, size):
                know2(h, H_DATA_OFFSET, <uint32_t> (h.tags + at + size))
            return
        if holds(h, at, 8):
            know4(h, H_TCP_SEQ, four(h.at + at + 4))
        if holds(h, at, 12):
            know4(h, H_TCP_ACK, four(h.at + at + 8))
        if holds(h, at, 14):
            know2(h, H_TCP_FLAGS, two(h.at + at + 12) & 0x1ff)
    elif protocol == P_UDP or protocol == P_UDPLITE:
        if holds(h, at, 8):
            know2(h, H_DATA_OFFSET, <uint32_t> (h.tags + at + 8))
    elif protocol == (P_ICMPV6 if h.wide else P_ICMP):
        if holds(h, at, 1):
            kind = h.at[at]
            know1(h, H_ICMP_TYPE, kind)
            if holds(h, at, 2):
                know1(h, H_ICMP_CODE, h.at[at + 1])
            # Echo and its reply.
            if (kind == 128 or kind == 129) if h.wide else (kind == 0 or kind == 8):
                if holds(h, at, 6):
                    know2(h, H_ICMP_ID, two(h.at + at + 4))
                if holds(h, at, 8):
                    know2(h, H_ICMP_SEQ, two(h.at + at + 6))


cdef inline void dissect_ipv4(headers *h) noexcept nogil:
    cdef size_t own, total
    cdef uint32_t fragment = 0
    if h.copied < 1 or h.at[0] >> 4 != 4:
        return
    know1(h, H_IP_VERSION, 4)
    own = (h.at[0] & 15) * 4
    if own < 20:
        return
    if h.copied >= 2:
        know1(h, H_TOS, h.at[1])
    if h.copied >= 4:
        total = two(h.at + 2)  # 0: of a large packet that is yet to be divided
        if total:
            know4(h, H_LENGTH, <uint32_t> total)
            h.copied = min(h.copied, max(total, own))  # padding of short frames is behind it
    if h.copied >= 6:
        know4(h, H_IP_ID, two(h.at + 4))
    if h.copied >= 8:
        fragment = two(h.at + 6)
        know1(h, H_IP_FLAGS, fragment >> 13)
        if fragment & 0x3fff:
            know2(h, H_FRAG_OFFSET, (fragment & 0x1fff) * 8)
    if h.copied >= 9:
        know1(h, H_TTL, h.at[8])
    if h.copied >= 10:
        know1(h, H_PROTOCOL, h.at[9])
    addresses(h, 12, 16, 4)
    if h.copied > own and not fragment & 0x1fff:
        dissect_transport(h, h.at[9], own)


cdef inline void dissect_ipv6(headers *h) noexcept nogil:
    cdef size_t total, size, at = 40
    cdef uint32_t protocol, fragment = 0
    if h.copied < 1 or h.at[0] >> 4 != 6:
        return
    know1(h, H_IP_VERSION, 6)
    if h.copied >= 2:
        know1(h, H_TOS, two(h.at) >> 4 & 0xff)
    if h.copied >= 4:
        know4(h, H_FLOW_LABEL, four(h.at) & 0xfffff)
    if h.copied >= 6:
        total = two(h.at + 4)  # 0: of a jumbogram, or of a large packet that is yet to be divided
        if total:
            know4(h, H_LENGTH, <uint32_t> (40 + total))
            h.copied = min(h.copied, 40 + total)
    if h.copied >= 8:
        know1(h, H_TTL, h.at[7])
    addresses(h, 8, 24, 16)
    if h.copied < 7:
        return
    protocol = h.at[6]
    for _ in range(MOST_EXTENSIONS):
        if protocol == P_FRAGMENT:
            if not holds(h, at, 8):
                return
            fragment = two(h.at + at + 2)
            know2(h, H_FRAG_OFFSET, fragment & 0xfff8)
            know1(h, H_IP_FLAGS, fragment & 1)
            know4(h, H_IP_ID, four(h.at + at + 4))
            protocol = h.at[at]
            at += 8
            if fragment & 0xfff8:  # what its first fragment begins with, which is elsewhere
                break
        elif protocol == P_HOPOPTS or protocol == P_ROUTING or protocol == P_DSTOPTS or protocol == P_AH:
            if not holds(h, at, 2):
                return
            size = (h.at[at + 1] + 2) * 4 if protocol == P_AH else (h.at[at + 1] + 1) * 8
            protocol = h.at[at]
            at += size
        else:
            break
    if (protocol == P_HOPOPTS or protocol == P_ROUTING or protocol == P_DSTOPTS or protocol == P_AH
            or protocol == P_FRAGMENT):
        return  # the header of the transport was not reached
    know1(h, H_PROTOCOL, protocol)
    if not fragment & 0xfff8:
        dissect_transport(h, protocol, at)


cdef inline void dissect_arp(headers *h) noexcept nogil:
    cdef size_t hardware
    if h.copied < 8:
        return
    know2(h, H_ARP_OP, two(h.at + 6))
    hardware = h.at[4]
    if two(h.at + 2) == ETH_IPV4 and h.at[5] == 4:
        addresses(h, 8 + hardware, 12 + 2 * hardware, 4)


# All that a packet of this EtherType tells.
cdef inline void dissect(headers *h, uint32_t protocol, const uint8_t *at, size_t copied) noexcept nogil:
    h.wide = protocol == ETH_IPV6
    h.tags = 0
    while (protocol == ETH_VLAN or protocol == ETH_QINQ) and h.tags < 4 * MOST_TAGS and copied >= 4:
        protocol = two(at + 2)
        at += 4
        copied -= 4
        h.tags += 4
        h.wide = protocol == ETH_IPV6
    h.at = at
    h.copied = copied
    if protocol == ETH_IPV4:
        dissect_ipv4(h)
    elif protocol == ETH_IPV6:
        dissect_ipv6(h)
    elif protocol == ETH_ARP:
        dissect_arp(h)
