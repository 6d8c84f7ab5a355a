"""psample: packets that `tc ... action sample` or a switch picked, and the groups they are sampled to."""

from nlbus.schema.schema import Attr, Schema, ignored
from nlbus.schema.types import BYTES, U16, U32, U64
from nlbus.sources.genl.families import HEADER, dump, family_source, reports

SAMPLE, GET_GROUP, NEW_GROUP, DEL_GROUP = range(4)

GROUP = Attr("PSAMPLE_ATTR_SAMPLE_GROUP", 3, U32)
SEQ = Attr("PSAMPLE_ATTR_GROUP_SEQ", 4, U32)

SOURCE = family_source(
    "psample",
    (
        Schema(
            name="sample",
            ops=reports(new=SAMPLE),
            header=HEADER,
            prefix="PSAMPLE_ATTR_",
            entries=(
                GROUP,
                SEQ,
                Attr("PSAMPLE_ATTR_IIFINDEX", 0, U16, display="interface"),
                Attr("PSAMPLE_ATTR_OIFINDEX", 1, U16, display="interface"),
                Attr("PSAMPLE_ATTR_ORIGSIZE", 2, U32, unit="bytes"),
                Attr("PSAMPLE_ATTR_SAMPLE_RATE", 5, U32),
                Attr("PSAMPLE_ATTR_OUT_TC", 10, U16),
                Attr("PSAMPLE_ATTR_OUT_TC_OCC", 11, U64, unit="bytes"),
                Attr("PSAMPLE_ATTR_LATENCY", 12, U64, unit="ns"),
                Attr("PSAMPLE_ATTR_TIMESTAMP", 13, U64, unit="ns", display="time"),
                Attr("PSAMPLE_ATTR_PROTO", 14, U16, display="hex"),
                Attr("PSAMPLE_ATTR_USER_COOKIE", 15, BYTES),
                Attr("PSAMPLE_ATTR_DATA", 6, BYTES),
                *ignored("PSAMPLE_ATTR_", TUNNEL=8, PAD=9, SAMPLE_PROBABILITY=16),
            ),
            words={"dev": "iifindex"},
            groups=("packets",),
            about="sampled packets: a gap in group_seq is a loss",
        ),
        Schema(
            name="group",
            ops=reports(new=NEW_GROUP, delete=DEL_GROUP),
            header=HEADER,
            prefix="PSAMPLE_ATTR_",
            entries=(GROUP, SEQ, Attr("PSAMPLE_ATTR_GROUP_REFCOUNT", 7, U32)),
            key=("sample_group",),
            groups=("config",),
            dump=dump(GET_GROUP),
            about="groups that packets are sampled to",
        ),
    ),
    option="CONFIG_PSAMPLE",
    module="psample",
    example="nlbus listen genl:psample",
)
