"""Messages about several objects: the parts that are a row each."""

cimport cython
from libc.stdint cimport int32_t, int8_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from nlbus._core.block cimport message
from nlbus._core.columns.program cimport MOST_DEEP, Program, fits_by, rule
from nlbus._core.columns.records cimport Selection
from nlbus._wire.cursor cimport nla_data, nla_ok, nla_payload, nla_total_size, nla_type


@cython.final
@cython.no_gc
cdef class Parts:
    """The attributes at the end of a program's path, of all messages of its kind, in order."""

    def __dealloc__(self):
        free(self.items)

    cdef int find(self, Program program, Selection rows, const int8_t *what) except -1:
        """Find them in the messages that `what` marks by a number that is not negative."""
        cdef size_t start = (program.header + 3) & ~3
        cdef const message *m
        cdef uint64_t unknown = 0
        cdef Py_ssize_t i, first
        cdef bint cut, counted
        if not program.path_count:
            return self.find_headers(program, rows, what)
        for counted in (False, True):
            if counted:
                self.items = <part *> malloc((self.count + 1) * sizeof(part))
                if self.items == NULL:
                    raise MemoryError("no memory for the columns of a batch")
                self.count = 0
            for i in range(rows.count):
                m = &rows.messages[i]
                if what[i] < 0 or start >= m.length:
                    continue
                cut = False
                first = self.count
                self.count += parts_of(program, rows.base + m.offset + start, m.length - start,
                                       &self.items[first] if counted else NULL, &unknown, &cut)
                if counted:
                    self.malformed += cut
                    for first in range(first, self.count):
                        self.items[first].message = <uint32_t> i
        self.unknown = unknown // 2  # they were met twice
        return 0

    cdef int find_headers(self, Program program, Selection rows, const int8_t *what) except -1:
        """Find the headers: a row each, with the attributes behind."""
        cdef const message *m
        cdef const rule *by
        cdef const uint8_t *at
        cdef size_t length, begin
        cdef Py_ssize_t i
        self.items = <part *> malloc((rows.count + 1) * sizeof(part))
        if self.items == NULL:
            raise MemoryError("no memory for the columns of a batch")
        for i in range(rows.count):
            if what[i] < 0:
                continue
            m = &rows.messages[i]
            at, length = rows.base + m.offset, m.length
            fits_by(program, m, at, program.narrow, &by)
            if by.within >= 0:
                begin = (by.within + 3) & ~3
                if (length <= begin or not nla_ok(at + begin, length - begin)
                        or nla_type(at + begin) != by.number
                        or nla_payload(at + begin) < program.part_size):
                    self.malformed += 1
                    continue
                at, length = nla_data(at + begin), length - begin - 4
            elif length < program.part_size:
                self.malformed += 1
                continue
            self.items[self.count].at = at
            self.items[self.count].length = length
            self.items[self.count].message = <uint32_t> i
            self.count += 1
        return 0


# The attributes at the end of the program's path among these: how many; into: what is in them, unless NULL.
# unknown: counts attributes beside the path. cut: set if bytes remain that are no attribute.
cdef inline Py_ssize_t parts_of(Program p, const uint8_t *at, size_t length, part *into, uint64_t *unknown,
                                bint *cut) noexcept nogil:
    cdef const uint8_t *ends[MOST_DEEP]
    cdef const uint8_t *later[MOST_DEEP]
    cdef const uint8_t *behind
    cdef Py_ssize_t found = 0
    cdef int32_t number
    cdef int depth = 0, i
    ends[0] = at + length
    while True:
        length = ends[depth] - at
        if not nla_ok(at, length):
            cut[0] = cut[0] or length > 0
            if depth == 0:
                return found
            depth -= 1
            at = later[depth]
            continue
        number = nla_type(at)
        behind = at + min(nla_total_size(nla_payload(at)), length)
        if number != p.path[depth]:
            i = 0
            while i < p.ignored_count and (depth or p.ignored[i] != number):
                i += 1
            unknown[0] += i == p.ignored_count
            at = behind
        elif depth + 1 < p.path_count:
            later[depth] = behind
            depth += 1
            ends[depth] = nla_data(at) + nla_payload(at)
            at = nla_data(at)
        else:
            if into != NULL:
                into[found].at = nla_data(at)
                into[found].length = nla_payload(at)
            found += 1
            at = behind
