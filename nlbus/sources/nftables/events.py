"""What happens to a ruleset, and to the packets that rules trace."""

from nlbus.schema.naming import bits, numbered
from nlbus.schema.schema import Attr, Nest, Op, Schema, ignored
from nlbus.schema.types import BE16, BE32, BE64, BYTES, TEXT, U8
from nlbus.sources.nftables.expressions import VERDICT
from nlbus.sources.nftables.objects import FAMILIES, HEADER, POLICIES, TYPES

TRACE_TYPES = numbered("policy return rule", 1)  # NFT_TRACETYPE_*
CT_STATES = bits("invalid established related new")  # NF_CT_STATE_*

GENERATION = Schema(
    name="generation",
    about="changes of the ruleset that took effect, and who made them; a datagram of its own each",
    ops=(Op(TYPES["NEWGEN"], "new"),),
    header=HEADER,
    prefix="NFTA_GEN_",
    entries=(
        Attr("NFTA_GEN_ID", 1, BE32),
        Attr("NFTA_GEN_PROC_PID", 2, BE32),
        Attr("NFTA_GEN_PROC_NAME", 3, TEXT),
    ),
    words={"pid": "proc_pid", "comm": "proc_name"},
    groups=("nftables",),
)

# Headers come with the first event of each base chain. A called chain that ends is a rule without handle.
TRACE = Schema(
    name="trace",
    about="the way of a packet through the rules: an event per rule, chain end and policy",
    ops=(Op(TYPES["TRACE"], "new"),),
    header=HEADER,
    prefix="NFTA_TRACE_",
    entries=(
        Attr("NFTA_TRACE_ID", 6, BE32, display="hex"),
        Attr("NFTA_TRACE_TYPE", 4, BE32, enum=TRACE_TYPES),
        Attr("NFTA_TRACE_TABLE", 1, TEXT),
        Attr("NFTA_TRACE_CHAIN", 2, TEXT),
        Attr("NFTA_TRACE_RULE_HANDLE", 3, BE64),
        Nest("NFTA_TRACE_VERDICT", 5, "NFTA_VERDICT_", VERDICT),
        Attr("NFTA_TRACE_POLICY", 16, BE32, enum=POLICIES),
        Attr("NFTA_TRACE_IIF", 10, BE32, display="interface"),
        Attr("NFTA_TRACE_OIF", 12, BE32, display="interface"),
        Attr("NFTA_TRACE_IIFTYPE", 11, BE16),
        Attr("NFTA_TRACE_OIFTYPE", 13, BE16),
        Attr("NFTA_TRACE_MARK", 14, BE32, display="hex"),
        Attr("NFTA_TRACE_NFPROTO", 15, BE32, enum=FAMILIES),
        Attr("NFTA_TRACE_LL_HEADER", 7, BYTES),
        Attr("NFTA_TRACE_NETWORK_HEADER", 8, BYTES),
        Attr("NFTA_TRACE_TRANSPORT_HEADER", 9, BYTES),
        Attr("NFTA_TRACE_CT_ID", 18, BE32),
        Attr("NFTA_TRACE_CT_DIRECTION", 19, U8),
        Attr("NFTA_TRACE_CT_STATUS", 20, BE32, display="hex"),
        Attr("NFTA_TRACE_CT_STATE", 21, BE32, flags=CT_STATES),
        *ignored("NFTA_TRACE_", PAD=17),
    ),
    words={"dev": ("iif", "oif"), "handle": "rule_handle"},
    groups=("trace",),
)
