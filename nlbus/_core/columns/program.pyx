"""A compiled schema of attributes: the tables that drive the decoder."""

cimport cython
from libc.stdint cimport int32_t

from nlbus._core.columns.arrays cimport layout
from nlbus._core.columns.headers cimport *
from nlbus._core.columns.store cimport address

cdef op one_op
cdef op[::1] op_view = <op[:1]> &one_op
cdef level one_level
cdef level[::1] level_view = <level[:1]> &one_level
cdef case one_case
cdef case[::1] case_view = <case[:1]> &one_case
cdef rule one_rule
cdef rule[::1] rule_view = <rule[:1]> &one_rule

OP = layout(op_view)
LEVEL = layout(level_view)
CASE = layout(case_view)
RULE = layout(rule_view)

KINDS = {
    "SKIP": SKIP,
    "UINT": UINT,
    "SINT": SINT,
    "UINT_BE": UINT_BE,
    "SINT_BE": SINT_BE,
    "VARINT": VARINT,
    "FLAG": FLAG,
    "FIXED": FIXED,
    "ADDRESS": ADDRESS,
    "VIA": VIA,
    "TEXT": TEXT,
    "BYTES": BYTES,
    "NEST": NEST,
    "STRUCT": STRUCT,
    "LIST": LIST,
    "ELEMENTS": ELEMENTS,
    "SELECT": SELECT,
    "STRUCTS": STRUCTS,
    "LABEL": LABEL,
    "WEIGHT": WEIGHT,
    "UNION_ADDRESS": UNION_ADDRESS,
    "VARSINT": VARSINT,
    "NESTS": NESTS,
    "NUMBERED": NUMBERED,
    "TIMEVAL": TIMEVAL,
    "COUNTED": COUNTED,
    "PACKET": PACKET,
    "UNION_BYTES": UNION_BYTES,
    "PLAIN_1": PLAIN_1,
    "PLAIN_2": PLAIN_2,
    "PLAIN_4": PLAIN_4,
    "PLAIN_8": PLAIN_8,
    "PLAIN_BE_2": PLAIN_BE_2,
    "PLAIN_BE_4": PLAIN_BE_4,
    "PLAIN_BE_8": PLAIN_BE_8,
    "PLAIN_ADDRESS": PLAIN_ADDRESS,
}
FLAGS = {
    "APPEND": APPEND,
    "SELECTS": SELECTS,
    "MAY_LACK": MAY_LACK,
    "ITEM": ITEM,
    "REPEATED": REPEATED,
    "INDEXED": INDEXED,
    "MAY_BE_EMPTY": MAY_BE_EMPTY,
}
PACKET_FIELDS = {  # the number, and bytes of the column
    "ip_version": (H_IP_VERSION, 1),
    "src": (H_SRC, 16),
    "dst": (H_DST, 16),
    "protocol": (H_PROTOCOL, 1),
    "sport": (H_SPORT, 2),
    "dport": (H_DPORT, 2),
    "tcp_flags": (H_TCP_FLAGS, 2),
    "tcp_seq": (H_TCP_SEQ, 4),
    "tcp_ack": (H_TCP_ACK, 4),
    "tcp_window": (H_TCP_WINDOW, 2),
    "icmp_type": (H_ICMP_TYPE, 1),
    "icmp_code": (H_ICMP_CODE, 1),
    "icmp_id": (H_ICMP_ID, 2),
    "icmp_seq": (H_ICMP_SEQ, 2),
    "arp_op": (H_ARP_OP, 2),
    "length": (H_LENGTH, 4),
    "ttl": (H_TTL, 1),
    "tos": (H_TOS, 1),
    "ip_id": (H_IP_ID, 4),
    "ip_flags": (H_IP_FLAGS, 1),
    "frag_offset": (H_FRAG_OFFSET, 2),
    "flow_label": (H_FLOW_LABEL, 4),
    "data_offset": (H_DATA_OFFSET, 2),
}
SELECTORS = int(MAX_SELECTORS)


@cython.final
cdef class Program(Plan):
    """A compiled Schema: the arrays of nlbus/schema/compile_attributes.py, kept alive. ValueError."""

    def __cinit__(self, *, ops, levels, map, cases, rules, specs, lists, tuple fields, int header, int root,
                  tuple selector, bint others, int selectors, path, ignored, int shared, tuple part,
                  bint divided):
        self.know(specs)
        self.kept += [ops, levels, map, cases, rules, lists, path, ignored]
        self.ops = <op *> address(ops, sizeof(op))
        self.levels = <level *> address(levels, sizeof(level))
        self.map = <int32_t *> address(map, sizeof(int32_t))
        self.cases = <case *> address(cases, sizeof(case))
        self.rules = <rule *> address(rules, sizeof(rule))
        self.lists = <int32_t *> address(lists, sizeof(int32_t))
        self.numbers = len(map)
        self.op_count = len(ops)
        self.rule_count = len(rules)
        self.narrow = bool(rules["group"].any() or rules["seq"].any() or (rules["at"] >= 0).any())
        self.field_first, self.field_count, self.text_count = fields
        self.header = header
        self.root = root
        self.select_at, self.select_size, self.select_value = selector
        self.select_others = others
        if not 0 <= selectors <= MAX_SELECTORS:
            raise ValueError(f"{selectors} selectors, there may be {MAX_SELECTORS}")
        self.selectors = selectors
        self.path = <int32_t *> address(path, sizeof(int32_t))
        self.path_count = len(path)
        self.divided = divided
        if self.path_count > MOST_DEEP:
            raise ValueError(f"a path of {self.path_count} attributes, of {MOST_DEEP} at most")
        self.ignored = <int32_t *> address(ignored, sizeof(int32_t))
        self.ignored_count = len(ignored)
        self.shared = shared
        self.part_first, self.part_count, self.part_size = part
