"""nlctrl: the families of generic netlink themselves, their commands, groups and policies."""

import struct
from collections.abc import Sequence

from nlbus.kernel.requests import attribute
from nlbus.schema.schema import Attr, Dump, Nests, Numbered, Schema, ignored
from nlbus.schema.types import NAME, S64, U16, U32, U64
from nlbus.sources.genl.families import (
    CTRL_CMD_GETFAMILY,
    CTRL_VERSION,
    FAMILY_ID,
    GENLMSGHDR,
    HEADER,
    NO_FAMILY,
    all_families,
    dump,
    family_source,
    reports,
)

CTRL_CMD_NEWFAMILY, CTRL_CMD_DELFAMILY = 1, 2
CTRL_CMD_NEWMCAST_GRP, CTRL_CMD_DELMCAST_GRP = 7, 8
CTRL_CMD_GETPOLICY = 10
CAPABILITIES = {1 << 0: "admin_perm", 1 << 1: "cmd_cap_do", 1 << 2: "cmd_cap_dump", 1 << 3: "cmd_cap_haspol",
                1 << 4: "uns_admin_perm"}  # fmt: skip
NL_ATTR_TYPES = {
    0: "invalid", 1: "flag", 2: "u8", 3: "u16", 4: "u32", 5: "u64", 6: "s8", 7: "s16", 8: "s32", 9: "s64",
    10: "binary", 11: "string", 12: "nul_string", 13: "nested", 14: "nested_array", 15: "bitfield32",
    16: "sint", 17: "uint",
}  # fmt: skip

ID = Attr("CTRL_ATTR_FAMILY_ID", FAMILY_ID, U16)
NAMED = Attr("CTRL_ATTR_FAMILY_NAME", 2, NAME)
GROUPS = Nests(
    "CTRL_ATTR_MCAST_GROUPS",
    7,
    "CTRL_ATTR_MCAST_GRP_",
    (Attr("CTRL_ATTR_MCAST_GRP_NAME", 1, NAME), Attr("CTRL_ATTR_MCAST_GRP_ID", 2, U32)),
    column="group",
)

FAMILY = Schema(
    name="family",
    ops=reports(new=CTRL_CMD_NEWFAMILY, delete=CTRL_CMD_DELFAMILY),
    header=HEADER,
    prefix="CTRL_ATTR_",
    entries=(
        ID,
        NAMED,
        Attr("CTRL_ATTR_VERSION", 3, U32),
        Attr("CTRL_ATTR_HDRSIZE", 4, U32, unit="bytes"),
        Attr("CTRL_ATTR_MAXATTR", 5, U32),
        Nests(
            "CTRL_ATTR_OPS",
            6,
            "CTRL_ATTR_OP_",
            (
                Attr("CTRL_ATTR_OP_ID", 1, U32),
                Attr("CTRL_ATTR_OP_FLAGS", 2, U32, flags=CAPABILITIES),
            ),
            column="op",
        ),
        GROUPS,
    ),
    key=("family_id",),
    words={"id": "family_id", "name": "family_name"},
    groups=("notify",),
    dump=dump(CTRL_CMD_GETFAMILY, CTRL_VERSION),
    about="generic netlink families, with their commands and groups",
)


def _each_family() -> Sequence[bytes]:
    """The requests for the policies of all families: the kernel wants one each."""
    head = GENLMSGHDR.pack(CTRL_CMD_GETPOLICY, CTRL_VERSION)
    numbers = (struct.pack("=H", family.number) for family in all_families())
    return [head + attribute(FAMILY_ID, number) for number in numbers]


SOURCE = family_source(
    "nlctrl",
    (
        FAMILY,
        Schema(
            name="group",
            ops=reports(new=CTRL_CMD_NEWMCAST_GRP, delete=CTRL_CMD_DELMCAST_GRP),
            header=HEADER,
            prefix="CTRL_ATTR_",
            entries=(ID, NAMED, GROUPS),
            words={"id": "family_id", "name": "family_name"},
            groups=("notify",),
            about="multicast groups that come and go with their families",
        ),
        Schema(
            name="policy",
            ops=reports(new=CTRL_CMD_GETPOLICY),
            header=HEADER,
            prefix="CTRL_ATTR_",
            entries=(
                ID,
                Numbered(
                    "CTRL_ATTR_OP_POLICY",
                    9,
                    ("cmd",),
                    "CTRL_ATTR_POLICY_",
                    (Attr("CTRL_ATTR_POLICY_DO", 1, U32), Attr("CTRL_ATTR_POLICY_DUMP", 2, U32)),
                    column="op",
                ),
                Numbered(
                    "CTRL_ATTR_POLICY",
                    8,
                    ("number", "attr"),
                    "NL_POLICY_TYPE_ATTR_",
                    (
                        Attr("NL_POLICY_TYPE_ATTR_TYPE", 1, U32, enum=NL_ATTR_TYPES),
                        Attr("NL_POLICY_TYPE_ATTR_MIN_VALUE_S", 2, S64),
                        Attr("NL_POLICY_TYPE_ATTR_MAX_VALUE_S", 3, S64),
                        Attr("NL_POLICY_TYPE_ATTR_MIN_VALUE_U", 4, U64),
                        Attr("NL_POLICY_TYPE_ATTR_MAX_VALUE_U", 5, U64),
                        Attr("NL_POLICY_TYPE_ATTR_MIN_LENGTH", 6, U32, unit="bytes"),
                        Attr("NL_POLICY_TYPE_ATTR_MAX_LENGTH", 7, U32, unit="bytes"),
                        Attr("NL_POLICY_TYPE_ATTR_POLICY_IDX", 8, U32, column="nested"),
                        Attr("NL_POLICY_TYPE_ATTR_POLICY_MAXTYPE", 9, U32, column="nested_maxtype"),
                        Attr("NL_POLICY_TYPE_ATTR_BITFIELD32_MASK", 10, U32, display="hex"),
                        *ignored("NL_POLICY_TYPE_ATTR_", PAD=11),
                        Attr("NL_POLICY_TYPE_ATTR_MASK", 12, U64, display="hex"),
                    ),
                ),
            ),
            dump=Dump(NO_FAMILY, _each_family),
            words={"id": "family_id"},
            about="what attributes each command of a family takes: a row per command, and per attribute",
        ),
    ),
    note="in policies, the kernel (6.18) calls a command that only dumps command 0",
    example="nlbus snapshot genl:nlctrl family",
)
