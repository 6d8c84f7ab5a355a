"""What a schema of attributes was compiled to: the tables by which the decoder goes."""

cimport cython
from libc.stdint cimport int32_t

from nlbus._core.columns.store cimport address


@cython.final
cdef class Program(Plan):
    """What a schema was compiled to: arrays of nlbus/schema/compile_attributes.py, kept as they are."""

    def __cinit__(self, *, ops, levels, map, cases, rules, specs, lists, tuple fields, int header, int root,
                  tuple selector, bint others):
        self.know(specs)
        self.kept += [ops, levels, map, cases, rules, lists]
        self.ops = <op *> address(ops, sizeof(op))
        self.levels = <level *> address(levels, sizeof(level))
        self.map = <int32_t *> address(map, sizeof(int32_t))
        self.cases = <case *> address(cases, sizeof(case))
        self.rules = <rule *> address(rules, sizeof(rule))
        self.lists = <int32_t *> address(lists, sizeof(int32_t))
        self.numbers = len(map)
        self.op_count = len(ops)
        self.rule_count = len(rules)
        self.field_first, self.field_count, self.text_count = fields
        self.header = header
        self.root = root
        self.select_at, self.select_size, self.select_value = selector
        self.select_others = others
