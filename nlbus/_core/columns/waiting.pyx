"""Packets that wait for a verdict: their ids from messages, and the requests that decide on them."""

cimport numpy as np
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy, memset

from nlbus._core.block cimport Block, message
from nlbus._core.columns.arrays cimport empty, layout
from nlbus._core.columns.integers cimport load_big
from nlbus._core.columns.records cimport Selection
from nlbus._wire.cursor cimport nla_data, nla_ok, nla_payload, nla_total_size, nla_type

np.import_array()

cdef enum:
    NFGENMSG = 4                  # bytes of struct nfgenmsg; the group is its last two
    PACKET_HDR = 1                # the attribute that begins with the id
    NLM_F_REQUEST = 1
    NLMSG_ERROR = 2


cdef struct head:
    uint32_t row                  # number of the message
    uint32_t group                # as the kernel has it
    uint32_t id


cdef struct verdict:              # a request, as on the wire but for its byte order
    uint32_t nlmsg_len
    uint16_t nlmsg_type
    uint16_t nlmsg_flags
    uint32_t nlmsg_seq
    uint32_t nlmsg_pid
    uint8_t family
    uint8_t version
    uint8_t res_id[2]
    uint16_t header_len
    uint16_t header_type
    uint8_t code[4]
    uint8_t id[4]
    uint16_t mark_len
    uint16_t mark_type
    uint8_t mark[4]


cdef head one_head
cdef head[::1] head_view = <head[:1]> &one_head
HEAD = layout(head_view)


def waiting(Block block not None, selected, int kind):
    """The packets among these messages, an array of HEAD, and how many messages refuse a request of ours."""
    cdef Selection rows = Selection(block, selected)
    cdef np.ndarray found = empty(HEAD, rows.count)
    cdef head *to = <head *> np.PyArray_DATA(found)
    cdef const message *m = rows.messages
    cdef const uint8_t *at
    cdef size_t length, size
    cdef Py_ssize_t i, count = 0, refused = 0
    with nogil:
        for i in range(rows.count):
            if m[i].type != kind:
                refused += m[i].type == NLMSG_ERROR
                continue
            if m[i].length < NFGENMSG:
                continue
            at = rows.base + m[i].offset
            length = m[i].length - NFGENMSG
            to[count].row = <uint32_t> i
            to[count].group = <uint32_t> load_big(at + 2, 2)
            at += NFGENMSG
            while nla_ok(at, length):
                size = nla_payload(at)
                if nla_type(at) == PACKET_HDR and size >= 4:
                    to[count].id = <uint32_t> load_big(nla_data(at), 4)
                    count += 1
                    break
                size = nla_total_size(size)
                if size >= length:
                    break
                at += size
                length -= size
    return found[:count], refused


cdef inline void big(uint8_t *to, uint32_t value) noexcept nogil:
    to[0] = value >> 24
    to[1] = value >> 16 & 0xff
    to[2] = value >> 8 & 0xff
    to[3] = value & 0xff


def requests(const uint16_t[::1] kinds, int group, const uint32_t[::1] codes, const uint32_t[::1] ids,
             const uint32_t[::1] marks, int header, int mark):
    """Requests as bytes, one behind the other, all of one length: types, verdicts, ids and marks of each.

    marks: None for none. header, mark: numbers of attributes. All arrays have the same length.
    """
    cdef Py_ssize_t count = ids.shape[0]
    cdef size_t size = sizeof(verdict) if marks is not None else sizeof(verdict) - 8
    cdef verdict one
    if kinds.shape[0] != count or codes.shape[0] != count or (marks is not None and marks.shape[0] != count):
        raise ValueError("arrays of different lengths")
    made = bytearray(count * size)
    cdef uint8_t *to = made
    cdef Py_ssize_t i
    memset(&one, 0, sizeof(one))
    one.nlmsg_len = <uint32_t> size
    one.nlmsg_flags = NLM_F_REQUEST
    one.res_id[0] = group >> 8 & 0xff
    one.res_id[1] = group & 0xff
    one.header_len = 12
    one.header_type = header
    one.mark_len = 8
    one.mark_type = mark
    for i in range(count):
        one.nlmsg_type = kinds[i]
        big(one.code, codes[i])
        big(one.id, ids[i])
        if marks is not None:
            big(one.mark, marks[i])
        memcpy(to + i * size, &one, size)
    return made
