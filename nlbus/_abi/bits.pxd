"""Bits of a mask, by the compiler's builtins."""

from libc.stdint cimport uint32_t


cdef extern from "<strings.h>" nogil:
    int ffs(int mask)             # position of the lowest bit, from 1; 0 if there is none

cdef extern from *:
    int ctz "__builtin_ctz" (uint32_t mask) noexcept nogil            # bits below the lowest; mask is not 0
    int popcount "__builtin_popcount" (uint32_t mask) noexcept nogil
