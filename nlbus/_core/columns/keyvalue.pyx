"""The decoder of text: datagrams of KEY=VALUE to columns, by tables that a schema was compiled to.

It knows no source. Strings end at a NUL, the last one with its datagram at the latest; of a key that comes
twice, the last value counts. Whatever the bytes are: a datagram without what its schema requires, or with an
envelope that lies, has no row and is counted; a number that is none marks its row.
"""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset

from nlbus._core.block cimport Block, message
from nlbus._core.columns.arrays cimport layout
from nlbus._core.columns.cells cimport cell, cell_begin, cell_bytes, cell_integer, cell_item
from nlbus._core.columns.records cimport Selection
from nlbus._core.columns.store cimport address

cdef enum:
    INT32_LIMIT = 0x7fffffff      # offsets of columns are int32


# -- a compiled schema ----------------------------------------------------------------------------------


cdef key one_key
cdef key[::1] key_view = <key[:1]> &one_key
cdef word one_word
cdef word[::1] word_view = <word[:1]> &one_word

KEY = layout(key_view)
WORD = layout(word_view)
KINDS = {"TEXT": TEXT, "UINT": UNSIGNED, "SINT": SIGNED}


@cython.final
cdef class Keys(Plan):
    """A compiled TextSchema: arrays of nlbus/schema/compile_text.py, kept as they are. ValueError.

    `envelope` is (begin, magic, size, start, length) as in nlbus.schema.schema.Envelope, or None.
    env: the cell of the list of all strings, or -1.
    op_key: the key whose value, one of `words`, names the operation, or -1.
    otherwise: the operation of messages without such a value.
    """

    def __cinit__(self, *, keys, words, specs, int env, int op_key, uint8_t otherwise, bint title,
                  tuple envelope):
        cdef int i, at
        cdef bytes begin, magic
        if len(keys) > MAX_KEYS:
            raise ValueError(f"{len(keys)} keys: there may be {MAX_KEYS}")
        self.know(specs)
        self.kept += [keys, words, envelope]
        self.keys = <const key *> address(keys, sizeof(key))
        self.words = <const word *> address(words, sizeof(word))
        self.key_count = len(keys)
        self.word_count = len(words)
        self.env = env
        self.op_key = op_key
        self.otherwise = otherwise
        self.title = title
        if envelope is not None:
            begin, magic, self.envelope, self.start_at, self.length_at = envelope
            if max(len(begin) + len(magic), self.start_at + 4, self.length_at + 4) > self.envelope:
                raise ValueError(f"an envelope of {self.envelope} bytes cannot hold what it should")
            self.begin.at, self.begin.length = begin, len(begin)
            self.magic.at, self.magic.length = magic, len(magic)
        for i in range(self.key_count):
            if self.keys[i].length < 1 or self.keys[i].length > sizeof(self.keys[i].name):
                raise ValueError(f"a key of {self.keys[i].length} bytes")
            at = slot(<const uint8_t *> self.keys[i].name, self.keys[i].length)
            while self.slots[at]:
                at = (at + 1) % SLOTS
            self.slots[at] = <uint8_t> (i + 1)

    cdef int find(self, const uint8_t *name, size_t length) noexcept nogil:
        """The number of a key, or -1."""
        cdef int at = slot(name, length)
        cdef const key *k
        while self.slots[at]:
            k = &self.keys[self.slots[at] - 1]
            if <size_t> k.length == length and memcmp(k.name, name, length) == 0:
                return self.slots[at] - 1
            at = (at + 1) % SLOTS
        return -1

    cdef bint open(self, const uint8_t *at, size_t length, span *text) noexcept nogil:
        """Where the strings of a datagram are; False: its envelope or title is none."""
        cdef const span *begin = &self.begin
        cdef uint32_t start, size
        cdef const void *end
        if self.envelope and length >= begin.length and memcmp(at, begin.at, begin.length) == 0:
            if length < self.envelope or memcmp(at + begin.length, self.magic.at, self.magic.length) != 0:
                return False
            memcpy(&start, at + self.start_at, 4)
            memcpy(&size, at + self.length_at, 4)
            if start < self.envelope or start > length or size > length - start:
                return False
            text.at = at + start
            text.length = size
            return True
        text.at = at
        text.length = length
        if self.title:
            end = memchr(at, 0, length)
            if end == NULL:
                return False
            text.at = <const uint8_t *> end + 1
            text.length = length - <size_t> (text.at - at)
        return True

    cdef uint8_t happened(self, const span *values) noexcept nogil:
        """The operation that the datagram reports."""
        cdef const span *value
        cdef int i
        if self.op_key >= 0 and values[self.op_key].at != NULL:
            value = &values[self.op_key]
            for i in range(self.word_count):
                if (<size_t> self.words[i].length == value.length
                        and memcmp(self.words[i].text, value.at, value.length) == 0):
                    return <uint8_t> self.words[i].op
        return self.otherwise


cdef inline int slot(const uint8_t *name, size_t length) noexcept nogil:
    """Where to begin to look for a key of at least one byte."""
    return <int> ((length * 7 + name[0] * 31 + name[length - 1]) % SLOTS)


# -- strings ---------------------------------------------------------------------------------------------


cdef inline const uint8_t *next_pair(span *left, span *name, span *value) noexcept nogil:
    """The next string of what is left, split at its first "="; NULL: there is none.

    name.at is NULL where it is no KEY=VALUE.
    """
    cdef const uint8_t *at = left.at
    cdef const uint8_t *end
    cdef const uint8_t *equals
    while left.length and at[0] == 0:
        at += 1
        left.length -= 1
    if left.length == 0:
        return NULL
    end = <const uint8_t *> memchr(at, 0, left.length)
    if end == NULL:
        end = at + left.length
    left.length -= end - at
    left.at = end
    equals = <const uint8_t *> memchr(at, c"=", end - at)
    name.at = NULL
    if equals != NULL and equals != at:
        name.at = at
        name.length = equals - at
        value.at = equals + 1
        value.length = end - value.at
    return at


cdef inline bint number(const span *text, uint32_t width, bint signed, uint64_t *value) noexcept nogil:
    """Decimal digits as an integer of so many bytes; False where it is none, or does not fit."""
    cdef const uint8_t *at = text.at
    cdef size_t left = text.length
    cdef bint negative = signed and left > 1 and at[0] == c"-"
    cdef uint64_t most = <uint64_t> -1 >> (64 - 8 * width)
    cdef uint8_t digit
    if signed:
        most = (most >> 1) + negative
    if negative:
        at += 1
        left -= 1
    value[0] = 0
    if left == 0:
        return False
    while left:
        digit = <uint8_t> (at[0] - c"0")
        if digit > 9 or value[0] > (most - digit) // 10:
            return False
        value[0] = value[0] * 10 + digit
        at += 1
        left -= 1
    if negative:
        value[0] = 0 - value[0]
    return True


# -- messages to columns ---------------------------------------------------------------------------------


# The collector would take away what __dealloc__ still needs; there are no cycles to collect.
@cython.final
@cython.no_gc
cdef class Texts(Store):
    """The columns of a batch's datagrams, a row each, in the order they came: as `decode.Decoded`.

    `unknown`: strings that are no KEY=VALUE; `malformed`: datagrams without a row.
    """

    def __cinit__(self, Keys keys not None, Block block not None, selected):
        cdef Selection rows = Selection(block, selected)
        cdef const message *m
        cdef Py_ssize_t i
        cdef int64_t row = 0
        cdef uint64_t total = 0
        cdef int failed = 0
        cdef span text
        cdef span values[MAX_KEYS]
        self.keys = keys
        for i in range(rows.count):
            total += rows.messages[i].length
        if total > INT32_LIMIT:
            raise MemoryError(f"a batch of {total} bytes of text: its columns end at 2 GiB")
        self.begin(keys, rows.count, block.time_ns)
        for i in range(keys.cells):
            failed |= self.make(<int> i)
        if failed:
            raise MemoryError("no memory for the columns of a batch")
        with nogil:
            for i in range(rows.count):
                m = &rows.messages[i]
                if not keys.open(rows.base + m.offset, m.length, &text) or not self.split(&text, values):
                    self.malformed += 1
                    continue
                self.nl_row[row] = <uint32_t> i
                self.nl_group[row] = m.group
                self.nl_nsid[row] = m.nsid
                self.nl_op[row] = keys.happened(values)
                failed |= self.put(values, row)
                if keys.env >= 0:
                    failed |= self.put_env(&text, row)
                row += 1
        self.rows = row
        self.end(failed)

    cdef bint split(self, const span *text, span *values) noexcept nogil:
        """The value of each key; False: one that is required is not there."""
        cdef span left = text[0], name, value
        cdef int i
        memset(values, 0, self.keys.key_count * sizeof(span))
        while next_pair(&left, &name, &value) != NULL:
            if name.at == NULL:
                self.unknown += 1
                continue
            i = self.keys.find(name.at, name.length)
            if i >= 0:
                values[i] = value
        for i in range(self.keys.key_count):
            if self.keys.keys[i].required and values[i].at == NULL:
                return False
        return True

    cdef int put(self, const span *values, int64_t row) noexcept nogil:
        cdef const key *k
        cdef cell *c
        cdef uint64_t value
        cdef int i, failed = 0
        for i in range(self.keys.key_count):
            k = &self.keys.keys[i]
            if k.cell < 0 or values[i].at == NULL:
                continue
            c = &self.cells[k.cell]
            if k.kind != TEXT:
                if number(&values[i], c.width, k.kind == SIGNED, &value):
                    cell_integer(c, row, value)
                else:
                    self.damaged[row] = 1
            elif values[i].length:
                failed |= cell_bytes(c, row, values[i].at, values[i].length) < 0
            else:
                cell_begin(c, row)
        return failed

    cdef int put_env(self, const span *text, int64_t row) noexcept nogil:
        """All strings that are KEY=VALUE, an item each."""
        cdef span left = text[0], name, value
        cdef cell *c = &self.cells[self.keys.env]
        cell_begin(c, row)
        while next_pair(&left, &name, &value) != NULL:
            if name.at != NULL and (
                    cell_item(c) < 0 or cell_bytes(c, row, name.at, name.length + 1 + value.length) < 0):
                return 1
        return 0
