"""One buffer that waits for the next lines: the kernel gives new memory page by page, which takes time."""

from libc.stdlib cimport free
from libc.string cimport memset

from nlbus._core.output.buffer cimport buffer

cdef enum:
    MOST = 1 << 22                # bytes that may wait

cdef buffer spare


cdef void take(buffer *b) noexcept:
    """The spare buffer, or an empty one."""
    b[0] = spare
    b.used = 0
    memset(&spare, 0, sizeof(spare))


cdef void give(buffer *b) noexcept:
    """Let it wait, if none does."""
    global spare
    if spare.at == NULL and b.room <= MOST:
        spare = b[0]
    else:
        free(b.at)
    memset(b, 0, sizeof(buffer))
