"""The capture formats: numbers of pcap and pcapng, and the header that LINKTYPE_NETLINK asks for.

https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html, https://www.tcpdump.org/linktypes.html
"""

from libc.stdint cimport uint32_t

cdef enum:
    SECTION_HEADER = 0x0A0D0D0A   # the same in both byte orders
    OLD_PACKET = 2
    SIMPLE_PACKET = 3
    ENHANCED_PACKET = 6
    MAX_BLOCK = 16 << 20          # bytes; Wireshark refuses more, too
    COOKED = 16                   # before a datagram, big-endian: packet type, ARPHRD, 10 unused, protocol


cdef struct enhanced_packet:      # then the data, padded to 4, and `total` again
    uint32_t type
    uint32_t total
    uint32_t interface
    uint32_t time_high
    uint32_t time_low
    uint32_t captured
    uint32_t original


cdef struct pcap_record:          # of the older format; then the data
    uint32_t seconds
    uint32_t fraction
    uint32_t captured
    uint32_t original
