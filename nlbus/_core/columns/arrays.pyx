"""Arrays of memory that something else owns, and dtypes of structs.

The dtype of a struct is taken from the struct itself, so that no second list of its fields can differ.
"""

cimport numpy as np
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int64_t

from nlbus._core.block cimport Block


np.import_array()

cdef extern from "numpy/arrayobject.h":
    object PyArray_NewFromDescr(PyTypeObject *type, np.dtype dtype, int ndim, np.npy_intp *shape,
                                np.npy_intp *strides, void *data, int flags, PyObject *like)


cpdef object view(Block block, np.dtype dtype, np.npy_intp count, int64_t offset, np.npy_intp stride=0):
    """A read-only array of the block's memory, which it keeps alive. The bounds are not checked."""
    array = PyArray_NewFromDescr(<PyTypeObject *> np.ndarray, own(dtype), 1, &count,
                                 &stride if stride else NULL, block.base + offset, 0, NULL)
    np.set_array_base(array, block)
    return array


cdef object array_of(dtype, Py_ssize_t count, void *at, owner):
    """A read-only array of memory that lives as long as its owner."""
    cdef np.npy_intp shape = count
    array = PyArray_NewFromDescr(<PyTypeObject *> np.ndarray, own(np.dtype(dtype)), 1, &shape, NULL, at, 0,
                                 NULL)
    np.set_array_base(array, owner)
    return array


cdef np.ndarray empty(np.dtype dtype, np.npy_intp count):
    """A new, writable array."""
    return PyArray_NewFromDescr(<PyTypeObject *> np.ndarray, own(dtype), 1, &count, NULL, NULL, 0, NULL)


cdef inline np.dtype own(np.dtype dtype):
    """Add a reference: numpy's constructors steal one."""
    Py_INCREF(dtype)
    return dtype


cdef object layout(view):
    """The dtype of the struct that `view`, a memoryview, consists of; char[n] becomes S<n>."""
    dtype = np.PyArray_FROM_O(view).dtype
    return np.dtype({
        "names": dtype.names,
        "formats": [f"S{field.itemsize}" if field.subdtype else field
                    for field, _ in dtype.fields.values()],
        "offsets": [offset for _, offset in dtype.fields.values()],
        "itemsize": dtype.itemsize,
    })
