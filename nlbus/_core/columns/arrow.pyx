"""Arrays of numpy as Arrow's C streams: any library that knows these reads the memory where it lies.

Each ArrowArray holds the buffers of its own arrays and lets them go by its own release, for consumers may
take a child and release its parent. Consumers call from any thread, with or without the GIL.
"""

cimport cython
cimport numpy as np
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF, PyObject
from libc.errno cimport EIO
from libc.stdint cimport INT32_MAX, int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset, strdup

from nlbus._abi.arrow cimport ARROW_FLAG_NULLABLE, ArrowArray, ArrowArrayStream, ArrowSchema

np.import_array()

cdef extern from "Python.h":
    bint Py_IsInitialized() nogil
    void PyErr_SetInterrupt()
    void prefetch "__builtin_prefetch" (const void *at) nogil

cdef enum:
    MAX_BUFFERS = 4
    INLINE = 12                   # bytes that a view holds itself
    AHEAD = 1024                  # bytes to fetch before they are needed: the memory is what views wait for

cdef struct piece:                # of string_view and binary_view
    int32_t length
    int32_t rest[3]               # the bytes themselves, or the first 4, which buffer, and where in it


def views(const uint8_t[::1] data, const int32_t[::1] offsets, piece[::1] out):
    """Put in `out` where each piece of `data` lies, of which one begins at each offset but the last.

    ValueError if one is outside.
    """
    cdef int32_t start = offsets[0]
    cdef int32_t length
    cdef Py_ssize_t i, n = out.shape[0]
    if offsets.shape[0] != n + 1 or start < 0:
        raise ValueError(f"{offsets.shape[0]} offsets from {start} of {n} pieces")
    with nogil:
        for i in range(n):
            length = offsets[i + 1] - start
            if length < 0 or offsets[i + 1] > data.shape[0]:
                with gil:
                    raise ValueError(f"piece {i} lies outside of {data.shape[0]} bytes")
            put(&out[i], &data[0], start, length)
            start += length


def equal_views(const uint8_t[::1] data, int32_t size, piece[::1] out):
    """The same for pieces of equal size."""
    cdef Py_ssize_t i
    check_room(data, size, out.shape[0])
    with nogil:
        for i in range(out.shape[0]):
            prefetch(&data[0] + i * size + AHEAD)
            put(&out[i], &data[0], <int32_t> i * size, size)


def begin_with_zeros(const uint8_t[::1] data, int32_t size, Py_ssize_t pieces):
    """Whether the first four bytes of each piece, which are in its view, are 0: then it is that of zeros."""
    cdef uint32_t all_of_them = 0
    cdef uint32_t one
    cdef Py_ssize_t i
    check_room(data, size, pieces)
    if size <= INLINE:
        return False
    with nogil:
        for i in range(pieces):
            prefetch(&data[0] + i * size + AHEAD)
            memcpy(&one, &data[0] + i * size, 4)
            all_of_them |= one
    return all_of_them == 0


cdef int check_room(const uint8_t[::1] data, int32_t size, Py_ssize_t pieces) except -1:
    if pieces * size > min(data.shape[0], <Py_ssize_t> INT32_MAX):
        raise ValueError(f"{pieces} pieces of {size} bytes lie outside of {data.shape[0]}")
    return 0


cdef inline void put(piece *to, const uint8_t *data, int32_t start, int32_t length) noexcept nogil:
    to.length = length
    if length > INLINE:
        memcpy(to.rest, data + start, 4)
        to.rest[1] = 0
        to.rest[2] = start
    else:
        to.rest[0] = to.rest[1] = to.rest[2] = 0
        memcpy(to.rest, data + start, length)


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
    cdef BatchStream source = BatchStream(layout, batches)
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
    PyObject *arrays[MAX_BUFFERS]
    const void *buffers[MAX_BUFFERS]


cdef int export_batch(ArrowArray *out, layout, batch) except -1:
    """Fill `out`, which is zero. Whatever happens: what is in it then, release_array lets go."""
    cdef ArrowArray *child
    rows, parts, zeros = batch
    begin(out, rows, 0)
    hold(out, None)
    make_children(out, len(parts))
    for part, each in zip(parts, layout[3], strict=True):
        child = next_child(out)
        if part is None:
            export_nothing(child, each, rows, zeros)
        else:
            export_array(child, part)
    return 0


cdef int export_array(ArrowArray *out, part) except -1:
    length, nulls, buffers, children, dictionary = part
    begin(out, length, nulls)
    for buffer in buffers:
        hold(out, buffer)
    make_children(out, len(children))
    for each in children:
        export_array(next_child(out), each)
    if dictionary is not None:
        out.dictionary = <ArrowArray *> allocated(sizeof(ArrowArray))
        export_array(out.dictionary, dictionary)
    return 0


cdef int export_nothing(ArrowArray *out, layout, int64_t rows, zeros) except -1:
    """So many rows without a value, of a layout without a dictionary."""
    cdef int _i
    _, format, _, children, _ = layout
    begin(out, rows, rows)
    for _i in range(4 if format in ("vu", "vz") else 3 if format in ("u", "z") else 2):
        hold(out, zeros)
    make_children(out, len(children))
    for each in children:
        export_nothing(next_child(out), each, 0, zeros)
    return 0


cdef int begin(ArrowArray *out, int64_t length, int64_t nulls) except -1:
    cdef holding *held = <holding *> allocated(sizeof(holding))
    out.length = length
    out.null_count = nulls
    out.buffers = held.buffers
    out.private_data = held
    out.release = release_array
    return 0


cdef int hold(ArrowArray *out, array) except -1:
    """One buffer more; None: there is none."""
    cdef holding *held = <holding *> out.private_data
    if out.n_buffers == MAX_BUFFERS:
        raise ValueError(f"more than {MAX_BUFFERS} buffers")
    if array is not None:
        if not np.PyArray_IS_C_CONTIGUOUS(<np.ndarray?> array):
            raise ValueError("an array is not C-contiguous")
        Py_INCREF(array)
        held.arrays[out.n_buffers] = <PyObject *> array
        held.buffers[out.n_buffers] = np.PyArray_DATA(<np.ndarray> array)
    out.n_buffers += 1
    return 0


cdef int make_children(ArrowArray *out, Py_ssize_t count) except -1:
    """Room for so many children, in one piece with the table of them."""
    cdef Py_ssize_t i
    if count:
        out.children = <ArrowArray **> allocated(count * (sizeof(void *) + sizeof(ArrowArray)))
        for i in range(count):
            out.children[i] = <ArrowArray *> &out.children[count] + i
    return 0


cdef ArrowArray *next_child(ArrowArray *out) noexcept:
    out.n_children += 1
    return out.children[out.n_children - 1]


cdef void release_array(ArrowArray *self) noexcept nogil:
    cdef holding *held = <holding *> self.private_data
    cdef int64_t i
    for i in range(self.n_children):
        if self.children[i].release != NULL:
            self.children[i].release(self.children[i])
    free(self.children)
    if self.dictionary != NULL and self.dictionary.release != NULL:
        self.dictionary.release(self.dictionary)
    free(self.dictionary)
    # Where a consumer outlives the interpreter there is nothing left to give the memory back to.
    if Py_IsInitialized():
        with gil:
            for i in range(MAX_BUFFERS):
                Py_XDECREF(held.arrays[i])
    free(held)
    self.release = NULL


# -- the stream ---------------------------------------------------------------------------------------


@cython.final
cdef class BatchStream:
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
        if isinstance(error, KeyboardInterrupt):
            # Consumers make an error of their own of it: Ctrl-C must still end the program. Python acts on
            # this once the consumer has returned.
            PyErr_SetInterrupt()
        return EIO


cdef int get_schema(ArrowArrayStream *self, ArrowSchema *out) noexcept with gil:
    source = <BatchStream> self.private_data
    memset(out, 0, sizeof(ArrowSchema))
    try:
        export_schema(out, source.layout)
    except BaseException as error:
        release_schema(out)
        return source.failed(error)
    return 0


cdef int get_next(ArrowArrayStream *self, ArrowArray *out) noexcept with gil:
    source = <BatchStream> self.private_data
    memset(out, 0, sizeof(ArrowArray))
    try:
        for batch in source.batches:
            export_batch(out, source.layout, batch)
            break
    except BaseException as error:
        if out.release != NULL:
            release_array(out)
        return source.failed(error)
    return 0


cdef const char *get_last_error(ArrowArrayStream *self) noexcept nogil:
    with gil:
        return (<BatchStream> self.private_data).error


cdef void release_stream(ArrowArrayStream *self) noexcept nogil:
    if Py_IsInitialized():
        with gil:
            Py_DECREF(<BatchStream> self.private_data)
    self.release = NULL


cdef void destroy_stream(object capsule) noexcept:
    cdef ArrowArrayStream *exported
    exported = <ArrowArrayStream *> PyCapsule_GetPointer(capsule, "arrow_array_stream")
    if exported.release != NULL:
        exported.release(exported)
    free(exported)
