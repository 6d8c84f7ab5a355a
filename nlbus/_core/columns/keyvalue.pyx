"""The decoder of text: datagrams of KEY=VALUE to columns, by tables that a schema was compiled to.

It knows no source. Strings end at a NUL, the last one with its datagram at the latest; of a key that comes
twice, the last value counts. Whatever the bytes are: a datagram without what its schema requires, or with an
envelope that lies, has no row and is counted; a number that is none marks its row.
"""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset

from nlbus._core.block cimport Block, message
from nlbus._core.columns.arrays cimport layout
from nlbus._core.columns.cells cimport cell, cell_begin, cell_bytes, cell_integer, cell_item
from nlbus._core.columns.records cimport Selection
from nlbus._core.columns.store cimport address

cdef uint64_t MOST_SECONDS = 9000000000  # in ns they fit 64 bits
cdef uint64_t UNSET = 0xffffffff  # of users and sessions

cdef enum:
    INT32_LIMIT = 0x7fffffff      # offsets of columns are int32


# -- a compiled schema ----------------------------------------------------------------------------------


cdef key one_key
cdef key[::1] key_view = <key[:1]> &one_key
cdef word one_word
cdef word[::1] word_view = <word[:1]> &one_word

KEY = layout(key_view)
WORD = layout(word_view)
KINDS = {"TEXT": TEXT, "UINT": UNSIGNED, "SINT": SIGNED, "ENCODED": ENCODED}


@cython.final
cdef class Keys(Plan):
    """A compiled TextSchema: arrays of nlbus/schema/compile_text.py, kept as they are. ValueError.

    `envelope` is (begin, magic, size, start, length) as in nlbus.schema.schema.Envelope, or None.
    env: the cell of the list of all strings, or -1.
    op_key: the key whose value, one of `words`, names the operation, or -1.
    otherwise: the operation of messages without such a value.
    """

    def __cinit__(self, *, keys, words, specs, int env, int op_key, uint8_t otherwise, bint title,
                  tuple envelope, tuple record=None):
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
        self.record = record is not None
        self.type_cell, self.time_cell, self.serial_cell = record or (-1, -1, -1)
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


cdef inline const uint8_t *next_field(span *left, span *name, span *value) noexcept nogil:
    """The next field of a record, split at its first "="; NULL: there is none.

    name.at is NULL for a word that is no field, and where quoted text with fields of its own begins. A value
    in double quotes is without them, and has a quote before it.
    """
    cdef const uint8_t *at = left.at
    cdef const uint8_t *end = at + left.length
    cdef const uint8_t *begin
    cdef const uint8_t *close
    while at != end and (at[0] <= c" " or at[0] == c"'"):
        at += 1
    if at == end:
        return NULL
    begin = at
    name.at = NULL
    while at != end and at[0] > c" " and at[0] != c"=":
        at += 1
    if at != end and at[0] == c"=" and at != begin:
        name.length = at - begin
        at += 1
        if at != end and at[0] == c"'":
            at += 1
        else:
            name.at = begin
            value.at = at
            if at != end and at[0] == c'"':
                value.at = at + 1
                close = <const uint8_t *> memchr(at + 1, c'"', end - at - 1)
                value.length = (end if close == NULL else close) - value.at
                at = end if close == NULL else close + 1
            else:
                while at != end and at[0] > c" ":
                    at += 1
                value.length = at - value.at
                while value.length and value.at[value.length - 1] == c"'":
                    value.length -= 1
    else:
        while at != end and at[0] > c" ":
            at += 1
    left.length = end - at
    left.at = at
    return begin


cdef inline int digit_of(uint8_t c) noexcept nogil:
    """The value of a hexadecimal digit; -1: it is none."""
    if c"0" <= c <= c"9":
        return c - c"0"
    if c"A" <= c <= c"F":
        return c - c"A" + 10
    if c"a" <= c <= c"f":
        return c - c"a" + 10
    return -1


cdef inline const uint8_t *digits(const uint8_t *at, const uint8_t *end, char last,
                                  uint64_t *value) noexcept nogil:
    """Behind the decimal digits before `last`; NULL: there are none, too many, or something else."""
    cdef span text
    text.at = at
    while at != end and c"0" <= at[0] <= c"9":
        at += 1
    text.length = at - text.at
    if at == end or at[0] != <uint8_t> last or not number(&text, 8, False, value):
        return NULL
    return at + 1


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
        cdef uint64_t total = 0, serial = 0
        cdef int64_t time = 0
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
                if keys.record:
                    if not self.record(rows.base + m.offset, m.length, &text, &time, &serial):
                        self.malformed += 1
                        continue
                    failed |= self.put_head(m.type, time, serial, row)
                    self.fields(&text, values)
                elif not keys.open(rows.base + m.offset, m.length, &text) or not self.split(&text, values):
                    self.malformed += 1
                    continue
                self.nl_row[row] = <uint32_t> i
                self.nl_group[row] = m.group
                self.nl_nsid[row] = m.nsid
                self.nl_op[row] = keys.happened(values)
                failed |= self.put(values, row)
                if keys.env >= 0:
                    failed |= self.put_fields(&text, row) if keys.record else self.put_env(&text, row)
                row += 1
        self.rows = row
        self.end(failed)

    cdef bint record(self, const uint8_t *at, size_t length, span *text, int64_t *time,
                     uint64_t *serial) noexcept nogil:
        """The time in ns and the number of a record, "audit(1700000000.123:45): ", and the text behind."""
        cdef const uint8_t *end = <const uint8_t *> memchr(at, 0, length)
        cdef uint64_t seconds, ms
        end = at + length if end == NULL else end
        if end - at < 6 or memcmp(at, b"audit(", 6) != 0:
            return False
        at = digits(at + 6, end, c".", &seconds)
        if at == NULL or seconds > MOST_SECONDS:
            return False
        at = digits(at, end, c":", &ms)
        if at == NULL or ms > 999:
            return False
        at = digits(at, end, c")", serial)
        if at == NULL or at == end or at[0] != c":":
            return False
        time[0] = <int64_t> (seconds * 1000 + ms) * 1000000
        text.at = at + 1
        text.length = end - text.at
        return True

    cdef int put_head(self, uint16_t type, int64_t time, uint64_t serial, int64_t row) noexcept nogil:
        if self.keys.type_cell >= 0:
            cell_integer(&self.cells[self.keys.type_cell], row, type)
        if self.keys.time_cell >= 0:
            cell_integer(&self.cells[self.keys.time_cell], row, <uint64_t> time)
        if self.keys.serial_cell >= 0:
            cell_integer(&self.cells[self.keys.serial_cell], row, serial)
        return 0

    cdef void fields(self, const span *text, span *values) noexcept nogil:
        """The first value of each key."""
        cdef span left = text[0], name, value
        cdef int i
        memset(values, 0, self.keys.key_count * sizeof(span))
        while next_field(&left, &name, &value) != NULL:
            if name.at != NULL:
                i = self.keys.find(name.at, name.length)
                if i >= 0 and values[i].at == NULL:
                    values[i] = value

    cdef int put_encoded(self, cell *c, const span *value, int64_t row) noexcept nogil:
        """Text as it was before the kernel wrote it: a value without quotes is hexadecimal, if it can be."""
        cdef size_t i
        cdef const uint8_t *at = value.at
        cdef bint hexadecimal = (at - 1)[0] != c'"' and value.length % 2 == 0
        for i in range(value.length if hexadecimal else 0):
            hexadecimal = hexadecimal and digit_of(at[i]) >= 0
        if not hexadecimal:
            return cell_bytes(c, row, at, value.length)
        # In place: the cell gets room for the digits, and keeps half of it.
        if cell_bytes(c, row, at, value.length) < 0:
            return -1
        for i in range(value.length // 2):
            c.data[c.used - value.length + i] = <uint8_t> (digit_of(at[2 * i]) << 4 | digit_of(at[2 * i + 1]))
        c.used -= value.length - value.length // 2
        return 0

    cdef int put_fields(self, const span *text, int64_t row) noexcept nogil:
        """All fields as they are written, an item each."""
        cdef span left = text[0], name, value
        cdef cell *c = &self.cells[self.keys.env]
        cdef const uint8_t *end
        cell_begin(c, row)
        while next_field(&left, &name, &value) != NULL:
            if name.at == NULL:
                continue
            end = value.at + value.length
            end += end != left.at and end[0] == c'"'
            if cell_item(c) < 0 or cell_bytes(c, row, name.at, end - name.at) < 0:
                return 1
        return 0

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
            if self.keys.record and values[i].length == 6 and memcmp(values[i].at, b"(null)", 6) == 0:
                continue
            if k.kind == ENCODED and values[i].length:
                failed |= self.put_encoded(c, &values[i], row) < 0
            elif k.kind == UNSIGNED or k.kind == SIGNED:
                if number(&values[i], c.width, k.kind == SIGNED, &value):
                    if not self.keys.record or k.kind == SIGNED or c.width != 4 or value != UNSET:
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
