"""Arrays of numpy as Arrow's C streams: any library that knows these reads the memory where it lies.

Each ArrowArray holds the buffers of its own arrays and lets them go by its own release, for consumers may
take a child and release its parent. Consumers call from any thread, with or without the GIL.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.errno cimport EIO
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset, strdup

from nlbus._abi.arrow cimport ARROW_FLAG_NULLABLE, ArrowArray, ArrowArrayStream, ArrowSchema

cdef extern from "Python.h":
    bint Py_IsInitialized() nogil

cdef enum:
    MAX_BUFFERS = 3

ctypedef fused number:
    uint8_t
    uint16_t
    uint32_t
    uint64_t
    int8_t
    int16_t
    int32_t
    int64_t


def look_up(const number[::1] numbers, const int32_t[::1] table, int32_t[::1] out):
    """Put table[n] for each number in `out`, -1 where the table ends before; whether none is negative."""
    cdef size_t end = table.shape[0]
    cdef Py_ssize_t i
    cdef int32_t least = 0
    with nogil:
        for i in range(numbers.shape[0]):
            out[i] = table[numbers[i]] if <uint64_t> numbers[i] < end else -1
            least |= out[i]
    return least >= 0


def schema(layout):
    """The capsule of a layout: see arrow.pyi."""
    cdef ArrowSchema *exported = <ArrowSchema *> allocated(sizeof(ArrowSchema))
    capsule = PyCapsule_New(exported, "arrow_schema", destroy_schema)
    export_schema(exported, layout)
    return capsule


def stream(layout, batches):
    """The capsule of a stream of record batches of this layout."""
    cdef ArrowArrayStream *exported = <ArrowArrayStream *> allocated(sizeof(ArrowArrayStream))
    capsule = PyCapsule_New(exported, "arrow_array_stream", destroy_stream)
    cdef Source source = Source(layout, batches)
    Py_INCREF(source)
    exported.private_data = <PyObject *> source
    exported.get_schema = get_schema
    exported.get_next = get_next
    exported.get_last_error = get_last_error
    exported.release = release_stream
    return capsule


cdef void *allocated(size_t size) except NULL:
    cdef void *memory = calloc(1, size)
    if memory == NULL:
        raise MemoryError
    return memory


# -- schemas ------------------------------------------------------------------------------------------


cdef int export_schema(ArrowSchema *out, layout) except -1:
    """Fill `out`, which is zero. Whatever happens: what is in it then, release_schema lets go."""
    cdef ArrowSchema *child
    name, format, nullable, children, dictionary = layout
    out.release = release_schema
    out.name = copied(name)
    out.format = copied(format)
    out.flags = ARROW_FLAG_NULLABLE if nullable else 0
    if children:
        out.children = <ArrowSchema **> allocated(len(children) * sizeof(void *))
    for each in children:
        child = <ArrowSchema *> allocated(sizeof(ArrowSchema))
        out.children[out.n_children] = child
        out.n_children += 1
        export_schema(child, each)
    if dictionary is not None:
        out.dictionary = <ArrowSchema *> allocated(sizeof(ArrowSchema))
        export_schema(out.dictionary, dictionary)
    return 0


cdef const char *copied(str text) except NULL:
    cdef bytes encoded = text.encode()
    cdef char *copy = strdup(encoded)
    if copy == NULL:
        raise MemoryError
    return copy


cdef void release_schema(ArrowSchema *self) noexcept nogil:
    cdef int64_t i
    for i in range(self.n_children):
        free_schema(self.children[i])
    free(self.children)
    free_schema(self.dictionary)
    free(<void *> self.name)
    free(<void *> self.format)
    self.release = NULL


cdef void free_schema(ArrowSchema *self) noexcept nogil:
    if self != NULL and self.release != NULL:
        self.release(self)
    free(self)


cdef void destroy_schema(object capsule) noexcept:
    free_schema(<ArrowSchema *> PyCapsule_GetPointer(capsule, "arrow_schema"))


# -- arrays -------------------------------------------------------------------------------------------


cdef struct holding:
    Py_buffer views[MAX_BUFFERS]
    const void *buffers[MAX_BUFFERS]


cdef int export_array(ArrowArray *out, part) except -1:
    """Fill `out`, which is zero. Whatever happens: what is in it then, release_array lets go."""
    cdef holding *held = <holding *> allocated(sizeof(holding))
    cdef ArrowArray *child
    out.private_data = held
    out.release = release_array
    out.buffers = held.buffers
    out.length, out.null_count, buffers, children, dictionary = part
    for buffer in buffers:
        if out.n_buffers == MAX_BUFFERS:
            raise ValueError(f"more than {MAX_BUFFERS} buffers")
        if buffer is not None:
            PyObject_GetBuffer(buffer, &held.views[out.n_buffers], PyBUF_SIMPLE)
            held.buffers[out.n_buffers] = held.views[out.n_buffers].buf
        out.n_buffers += 1
    if children:
        out.children = <ArrowArray **> allocated(len(children) * sizeof(void *))
    for each in children:
        child = <ArrowArray *> allocated(sizeof(ArrowArray))
        out.children[out.n_children] = child
        out.n_children += 1
        export_array(child, each)
    if dictionary is not None:
        out.dictionary = <ArrowArray *> allocated(sizeof(ArrowArray))
        export_array(out.dictionary, dictionary)
    return 0


cdef void release_array(ArrowArray *self) noexcept nogil:
    cdef int64_t i
    for i in range(self.n_children):
        free_array(self.children[i])
    free(self.children)
    free_array(self.dictionary)
    # Where a consumer outlives the interpreter there is nothing left to give the memory back to.
    if Py_IsInitialized():
        with gil:
            for i in range(self.n_buffers):
                PyBuffer_Release(&(<holding *> self.private_data).views[i])
    free(self.private_data)
    self.release = NULL


cdef void free_array(ArrowArray *self) noexcept nogil:
    if self != NULL and self.release != NULL:
        self.release(self)
    free(self)


# -- the stream ---------------------------------------------------------------------------------------


@cython.final
cdef class Source:
    """What a stream has still to give."""
    cdef object layout
    cdef object batches
    cdef bytes error

    def __cinit__(self, layout, batches):
        self.layout = layout
        self.batches = iter(batches)
        self.error = b""

    cdef int failed(self, error):
        self.error = f"{type(error).__name__}: {error}".encode()
        return EIO


cdef int get_schema(ArrowArrayStream *self, ArrowSchema *out) noexcept with gil:
    source = <Source> self.private_data
    memset(out, 0, sizeof(ArrowSchema))
    try:
        export_schema(out, source.layout)
    except BaseException as error:
        release_schema(out)
        return source.failed(error)
    return 0


cdef int get_next(ArrowArrayStream *self, ArrowArray *out) noexcept with gil:
    source = <Source> self.private_data
    memset(out, 0, sizeof(ArrowArray))
    try:
        for batch in source.batches:
            export_array(out, batch)
            break
    except BaseException as error:
        if out.release != NULL:
            release_array(out)
        return source.failed(error)
    return 0


cdef const char *get_last_error(ArrowArrayStream *self) noexcept nogil:
    with gil:
        return (<Source> self.private_data).error


cdef void release_stream(ArrowArrayStream *self) noexcept nogil:
    if Py_IsInitialized():
        with gil:
            Py_DECREF(<Source> self.private_data)
    self.release = NULL


cdef void destroy_stream(object capsule) noexcept:
    cdef ArrowArrayStream *exported
    exported = <ArrowArrayStream *> PyCapsule_GetPointer(capsule, "arrow_array_stream")
    if exported.release != NULL:
        exported.release(exported)
    free(exported)
