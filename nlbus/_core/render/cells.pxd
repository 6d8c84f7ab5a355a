"""The cells of a column that is in memory, read in place, and as objects of Python."""

from cpython.ref cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

from nlbus._core.columns.cells cimport cell
from nlbus._core.columns.store cimport Store

cdef enum shape:                  # SHAPES names them
    UNSIGNED
    SIGNED
    BOOLEAN
    FLOAT
    NAMED                         # an integer that `make` turns into something else
    ADDRESS                       # 16 bytes
    TEXT                          # UTF-8, perhaps
    RAW                           # bytes
    HEX                           # bytes, shown as text in hex
    MAC                           # the same with colons
    LLADDR                        # a hardware address; of some sizes, `make` knows it
    MADE                          # bytes that `make` turns into something else
    OTHER                         # whatever numpy's tolist() makes of it

cdef enum:
    ADDRESS_TEXT = 46             # INET6_ADDRSTRLEN
    KEPT = 256                    # texts of addresses that a column keeps


cdef struct cells:
    shape kind
    int width                     # bytes of a value; 0: of any length
    bint is_list
    bint is_signed
    bint six                      # addresses of IPv6, whatever they look like
    const uint8_t *data
    const uint8_t *valid          # a byte a row; NULL: all are
    const int32_t *offsets        # of lists, or of values of any length
    const uint8_t *families       # AF_* a row, where these decide what an address is; else NULL
    cells *items
    Py_ssize_t rows


cdef struct kept:                 # an address, and its text
    uint8_t raw[16]
    bint six
    PyObject *text


cdef class Kind:
    cdef readonly shape shape
    cdef object make
    cdef bint copies              # what `make` returned is a list: everyone gets one of their own
    cdef dict made                # by number
    cdef kept addresses[KEPT]


cdef class Cells:
    cdef cells c
    cdef cells items
    cdef readonly Kind kind
    cdef object array             # of values, for OTHER
    cdef list held                # the arrays that all this points into, or ...
    cdef Store store              # ... whose columns
    # The number before this one, and its object.
    cdef uint64_t last
    cdef object last_object

    cdef int mark(self, cells *c, Py_ssize_t rows, valid) except -1
    cdef int fill(self, cells *c, Py_ssize_t rows, values, valid, offsets) except -1
    cdef void point(self, Store store, const cell *of)
    cdef object cell(self, Py_ssize_t row)
    cdef object one(self, const cells *c, Py_ssize_t i, bint six)
    cdef object number(self, const cells *c, Py_ssize_t i)


# Whether rows of this family have addresses of IPv6: AF_INET6, RTNL_FAMILY_IP6MR.
cdef inline bint of_ipv6(uint8_t family) noexcept nogil:
    return family == 10 or family == 129


cdef inline bint is_six(const cells *c, Py_ssize_t row) noexcept nogil:
    return c.six if c.families == NULL else of_ipv6(c.families[row])


cdef inline bint there(const cells *c, Py_ssize_t row) noexcept nogil:
    return c.valid == NULL or c.valid[row]


cdef uint64_t bits(const cells *c, Py_ssize_t i) noexcept nogil
cdef const uint8_t *piece(const cells *c, Py_ssize_t i, size_t *length) noexcept nogil
cdef size_t address_text(const uint8_t *raw, bint six, uint8_t *out) noexcept nogil
