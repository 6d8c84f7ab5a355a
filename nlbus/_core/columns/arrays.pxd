"""Arrays of memory that something else owns, and dtypes of structs."""

cimport numpy as np
from libc.stdint cimport int64_t

from nlbus._core.block cimport Block


cpdef object view(Block block, np.dtype dtype, np.npy_intp count, int64_t offset, np.npy_intp stride=*)
cdef object array_of(dtype, Py_ssize_t count, void *at, owner)
cdef np.ndarray empty(np.dtype dtype, np.npy_intp count)
cdef object layout(view)
