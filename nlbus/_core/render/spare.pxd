"""One buffer that waits for the next lines: the kernel gives new memory page by page, which takes time."""

from nlbus._core.output.buffer cimport buffer

cdef void take(buffer *b) noexcept
cdef void give(buffer *b) noexcept
