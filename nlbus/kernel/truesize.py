"""The cost of a datagram in the receive buffer: the kernel charges memory, not bytes."""

SMALL_PAYLOAD = 256
SMALL = 832
OVERHEAD = 320  # struct skb_shared_info, in the same slab as the bytes
SK_BUFF = 256
FIRST_SLAB = 1024


def truesize(length: int) -> int:
    """Return the bytes of receive buffer that a datagram of `length` bytes takes.

    Linux: __alloc_skb() rounds up to a slab (a power of two); up to 256 bytes come from a slab of their own.
    Exact for datagrams of processes; the kernel may charge more for its own.
    """
    if length <= SMALL_PAYLOAD:
        return SMALL
    slab = FIRST_SLAB
    while slab < length + OVERHEAD:
        slab *= 2
    return slab + SK_BUFF
