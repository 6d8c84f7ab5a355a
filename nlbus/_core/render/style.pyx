"""How the values of a column are written: as JSON, CSV or text.

What is usual is written from memory to memory. For what is not, `encode` is called: text with characters to
escape, names of numbers. What it says of a number is kept.
"""

cimport cython
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memchr, memcmp, memcpy, memset

from nlbus._core.output.buffer cimport (
    buffer, buffer_room, put, put_byte, put_hex, put_signed, put_unsigned,
)
from nlbus._core.render.cells cimport (
    ADDRESS, ADDRESS_TEXT, BOOLEAN, FLOAT, HEX, LLADDR, MAC, NAMED, OTHER, RAW, TEXT, Cells,
    address_text, bits, cells, is_six, piece, there,
)

cdef extern from "Python.h":
    char *PyOS_double_to_string(double value, char code, int precision, int flags, int *type) except NULL
    void PyMem_Free(void *at)
    enum:
        Py_DTSF_ADD_DOT_0

cdef enum:
    ENTRIES = 4096                # numbers whose text is kept; a power of two
    POOL = 1 << 20                # bytes of these texts
    SHOWN_BYTES = 24              # of a value in a word; of longer ones `encode` shows a part
    SHOWN_ITEMS = 16              # the same of lists

cdef enum:                        # what a byte may be part of, as it is
    IN_JSON = 1
    IN_CSV = 2                    # without quotes
    PRINTABLE = 4                 # ASCII, and no backslash
    IN_WORD = 8                   # of a shell
    IN_QUOTES = 16                # of a shell

cdef uint8_t[256] MAY

FORMS = ("json", "csv", "csv on a terminal", "plain", "shell")


def _classify():
    for byte in range(256):
        printable = 0x20 <= byte < 0x7f
        MAY[byte] = 0
        if printable and byte not in b'"\\':
            MAY[byte] |= IN_JSON
        if byte not in b',"\r\n':
            MAY[byte] |= IN_CSV
        if printable and byte != 0x5c:
            MAY[byte] |= PRINTABLE
            if byte != 0x27:
                MAY[byte] |= IN_QUOTES
        if chr(byte).isascii() and chr(byte).isalnum() or byte in b"_@%+=:,./-":
            MAY[byte] |= IN_WORD


_classify()


cdef inline uint8_t all_may(const uint8_t *at, size_t length) noexcept nogil:
    """What all of these bytes may be part of."""
    cdef uint8_t may = 0xff
    cdef size_t i
    for i in range(length):
        may &= MAY[at[i]]
    return may


@cython.final
cdef class Style:
    """Writes values in one of FORMS.

    encode: from the value to its text, as str, of which the form's quotes are part. by_number: it decides on
    integers, too. pairs: texts of KEY=VALUE in a list are one object; `encode` gets the list. after: what
    follows an integer, such as its unit. inner: of lists in CSV, their style as JSON.
    """

    def __cinit__(self, str form not None, encode not None, *, bint by_number=False, bint pairs=False,
                  bytes after=b"", Style inner=None):
        self.form = FORMS.index(form)
        self.encode = encode
        self.by_number = by_number
        self.pairs = pairs
        self.after = after
        self.inner = inner

    def __dealloc__(self):
        free(self.entries)
        free(self.pool.at)
        free(self.scratch.at)

    def forget(self):
        """Forget what `encode` has said of numbers."""
        free(self.entries)
        self.entries = NULL
        self.filled = self.pool.used = 0

    cdef int write(self, Cells owner, Py_ssize_t row, buffer *b) except -1:
        """Write the value of a row, which has one. 0, or ELSEWHERE."""
        cdef const cells *c = &owner.c
        if not c.is_list:
            return self.one(owner, c, row, is_six(c, row), b)
        if self.form == CSV or self.form == CSV_TERMINAL:
            return self.quoted(owner, row, b)
        if self.form == PLAIN:
            return ELSEWHERE
        return self.array(owner, row, b)

    cdef int one(self, Cells owner, const cells *c, Py_ssize_t i, bint six, buffer *b) except -1:
        cdef bint quotes = self.form == JSON or c.is_list
        cdef size_t length
        cdef const uint8_t *at
        if c.kind <= NAMED:
            return self.number(owner, c, i, b)
        if c.kind == TEXT:
            return self.text(owner, c, i, b)
        if c.kind == ADDRESS:
            if buffer_room(b, ADDRESS_TEXT + 2) < 0:
                raise MemoryError
            if quotes:
                b.at[b.used] = c'"'
                b.used += 1
            b.used += address_text(c.data + 16 * i, six, b.at + b.used)
            if quotes:
                b.at[b.used] = c'"'
                b.used += 1
            return 0
        if c.kind == OTHER:
            return self.other(owner.one(c, i, six), b)
        at = piece(c, i, &length)
        if c.kind == MAC or c.kind == HEX or c.kind == RAW or (c.kind == LLADDR and length not in (4, 16)):
            if self.form == SHELL and (length == 0 or (c.kind == RAW and length > SHOWN_BYTES)):
                return self.other(owner.one(c, i, six), b)
            if self.form == PLAIN and c.kind == RAW:
                return ELSEWHERE
            if buffer_room(b, 3 * length + 3) < 0:
                raise MemoryError
            if quotes:
                b.at[b.used] = c'"'
                b.used += 1
            put_hex(b, at, length, 0 if c.kind == HEX or c.kind == RAW else c':')
            if quotes:
                b.at[b.used] = c'"'
                b.used += 1
            return 0
        return self.other(owner.one(c, i, six), b)

    cdef int number(self, Cells owner, const cells *c, Py_ssize_t i, buffer *b) except -1:
        cdef uint64_t value, slot
        cdef entry *e
        cdef size_t before
        cdef double real
        cdef float single
        cdef char *text
        if c.kind == FLOAT:
            if c.width == 4:
                memcpy(&single, c.data + 4 * i, 4)
                real = single
            else:
                memcpy(&real, c.data + 8 * i, 8)
            if self.by_number or real - real != 0:
                return self.other(owner.one(c, i, False), b)
            text = PyOS_double_to_string(real, c'r', 0, Py_DTSF_ADD_DOT_0, NULL)
            before = 0
            while text[before]:
                before += 1
            failed = put(b, text, before)
            PyMem_Free(text)
            if failed < 0:
                raise MemoryError
            return 0
        value = bits(c, i)
        if c.kind != NAMED and c.kind != BOOLEAN and not self.by_number:
            if (put_signed(b, <int64_t> value) if c.is_signed else put_unsigned(b, value)) < 0:
                raise MemoryError
            if self.after is not None and put(b, <const char *> self.after, len(self.after)) < 0:
                raise MemoryError
            return 0
        if self.entries == NULL:
            self.entries = <entry *> calloc(ENTRIES, sizeof(entry))
            if self.entries == NULL:
                raise MemoryError
        slot = (value * 0x9E3779B97F4A7C15u) >> 52
        while self.entries[slot].length and self.entries[slot].number != value:
            slot = (slot + 1) & (ENTRIES - 1)
        e = &self.entries[slot]
        if e.length:
            if put(b, self.pool.at + e.at, e.length - 1) < 0:
                raise MemoryError
            return 0
        before = b.used
        if self.other(owner.one(c, i, False), b) == ELSEWHERE:
            return ELSEWHERE
        if self.filled > ENTRIES // 2 or self.pool.used > POOL:
            memset(self.entries, 0, ENTRIES * sizeof(entry))
            self.filled = self.pool.used = 0
            return 0
        if put(&self.pool, b.at + before, b.used - before) < 0:
            raise MemoryError
        e.number = value
        e.at = <uint32_t> (self.pool.used - (b.used - before))
        e.length = <uint32_t> (b.used - before + 1)
        self.filled += 1
        return 0

    cdef int text(self, Cells owner, const cells *c, Py_ssize_t i, buffer *b) except -1:
        cdef size_t length
        cdef const uint8_t *at = piece(c, i, &length)
        cdef uint8_t may = all_may(at, length)
        cdef uint8_t quote = 0
        if self.form == JSON:
            if not may & IN_JSON:
                return self.other(owner.one(c, i, False), b)
            quote = c'"'
        elif self.form == PLAIN:
            if not may & PRINTABLE:
                return ELSEWHERE
        elif self.form == SHELL:
            if not (may & IN_WORD and length):
                if not may & IN_QUOTES:
                    return self.other(owner.one(c, i, False), b)
                quote = c"'"
        else:
            if self.form == CSV_TERMINAL and not may & PRINTABLE:
                return self.other(bytes(at[:length]).decode("utf-8", "surrogateescape"), b)
            if not may & IN_CSV:
                if put_csv(b, at, length) < 0:
                    raise MemoryError
                return 0
        if buffer_room(b, length + 2) < 0:
            raise MemoryError
        if quote:
            b.at[b.used] = quote
            b.used += 1
        if length:
            memcpy(b.at + b.used, at, length)
        b.used += length
        if quote:
            b.at[b.used] = quote
            b.used += 1
        return 0

    cdef int other(self, object value, buffer *b) except -1:
        """What `encode` makes of a value. 0, or ELSEWHERE."""
        cdef Py_ssize_t length
        cdef const char *at
        found = self.encode(value)
        if self.form == PLAIN and not found.isascii():
            return ELSEWHERE
        at = PyUnicode_AsUTF8AndSize(found, &length)
        if self.form == PLAIN and not all_may(<const uint8_t *> at, length) & PRINTABLE:
            return ELSEWHERE
        if put(b, at, length) < 0:
            raise MemoryError
        return 0

    cdef int array(self, Cells owner, Py_ssize_t row, buffer *b) except -1:
        """A list, in JSON or as a word."""
        cdef const cells *c = &owner.c
        cdef Py_ssize_t i
        cdef bint six = is_six(c, row)
        cdef bint json = self.form != SHELL
        if self.pairs:
            return self.mapping(owner, row, b) if json else self.variables(c, row, b)
        if not json and c.offsets[row + 1] - c.offsets[row] > SHOWN_ITEMS:
            return self.other(owner.cell(row), b)
        if json and put_byte(b, c'[') < 0:
            raise MemoryError
        for i in range(c.offsets[row], c.offsets[row + 1]):
            if i > c.offsets[row] and put(b, <const char *> b", ", 2 if json else 1) < 0:
                raise MemoryError
            if there(c.items, i):
                self.one(owner, c.items, i, six, b)
            elif put(b, <const char *> b"null" if json else <const char *> b"-", 4 if json else 1) < 0:
                raise MemoryError
        if json and put_byte(b, c']') < 0:
            raise MemoryError
        return 0

    cdef int variables(self, const cells *c, Py_ssize_t row, buffer *b) except -1:
        """Texts of KEY=VALUE as words of a shell, a space before each, but those that begin the line."""
        cdef const uint8_t *at
        cdef const uint8_t *equals
        cdef size_t length, key
        cdef Py_ssize_t i
        cdef uint8_t may
        for i in range(c.offsets[row], c.offsets[row + 1]):
            at = piece(c.items, i, &length)
            equals = <const uint8_t *> memchr(at, c'=', length)
            if equals == NULL or repeats(c, c.offsets[row], i, at, equals - at):
                return ELSEWHERE
            key = equals - at
            if (key == 6 and memcmp(at, b"ACTION", 6) == 0) or (key == 7 and memcmp(at, b"DEVPATH", 7) == 0):
                continue
            may = all_may(equals + 1, length - key - 1)
            if not (all_may(at, key) & PRINTABLE and may & IN_QUOTES):
                return ELSEWHERE
            if buffer_room(b, length + 4) < 0:
                raise MemoryError
            put_byte(b, c' ')
            put(b, at, key + 1)
            if may & IN_WORD and length > key + 1:
                put(b, equals + 1, length - key - 1)
                continue
            put_byte(b, c"'")
            put(b, equals + 1, length - key - 1)
            put_byte(b, c"'")
        return 0

    cdef int quoted(self, Cells owner, Py_ssize_t row, buffer *b) except -1:
        """A list in CSV: as JSON, quoted if necessary."""
        self.scratch.used = 0
        (<Style?> self.inner).array(owner, row, &self.scratch)
        if all_may(self.scratch.at, self.scratch.used) & IN_CSV:
            failed = put(b, self.scratch.at, self.scratch.used)
        else:
            failed = put_csv(b, self.scratch.at, self.scratch.used)
        if failed < 0:
            raise MemoryError
        return 0

    cdef int mapping(self, Cells owner, Py_ssize_t row, buffer *b) except -1:
        """Texts of KEY=VALUE as an object of JSON; of a key that comes twice, `encode` knows more."""
        cdef const cells *c = &owner.c
        cdef const uint8_t *at
        cdef const uint8_t *equals
        cdef size_t length, key, before = b.used
        cdef Py_ssize_t i
        cdef bint plain = True
        if put_byte(b, c'{') < 0:
            raise MemoryError
        for i in range(c.offsets[row], c.offsets[row + 1]):
            at = piece(c.items, i, &length)
            equals = <const uint8_t *> memchr(at, c'=', length)
            key = equals - at if equals != NULL else length
            plain = (plain and all_may(at, length) & IN_JSON and there(c.items, i)
                     and not repeats(c, c.offsets[row], i, at, key))
            if not plain:
                break
            if buffer_room(b, length + 10) < 0:
                raise MemoryError
            if i > c.offsets[row]:
                put(b, <const char *> b", ", 2)
            put_byte(b, c'"')
            put(b, at, key)
            put(b, <const char *> b'": "', 4)
            if equals != NULL:
                put(b, equals + 1, length - key - 1)
            put_byte(b, c'"')
        if plain:
            if put_byte(b, c'}') < 0:
                raise MemoryError
            return 0
        b.used = before
        return self.other(owner.cell(row), b)


cdef bint repeats(const cells *c, Py_ssize_t first, Py_ssize_t i, const uint8_t *at,
                  size_t key) noexcept nogil:
    """Whether one of the items before the i-th has the same key."""
    cdef const uint8_t *other
    cdef size_t length
    cdef Py_ssize_t j
    for j in range(first, i):
        other = piece(c.items, j, &length)
        if length >= key and memcmp(other, at, key) == 0 and (length == key or other[key] == c'='):
            return True
    return False


cdef int put_csv(buffer *b, const uint8_t *at, size_t length) noexcept nogil:
    """In quotes, of which each within is doubled."""
    cdef size_t i
    cdef uint8_t *out
    if buffer_room(b, 2 * length + 2) < 0:
        return -1
    out = b.at + b.used
    out[0] = c'"'
    out += 1
    for i in range(length):
        out[0] = at[i]
        out += 1
        if at[i] == c'"':
            out[0] = c'"'
            out += 1
    out[0] = c'"'
    b.used = out + 1 - b.at
    return 0
