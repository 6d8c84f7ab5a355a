"""packet: IP packets at netfilter's hooks, reported by the kernel module nlbus_packet through nlbus.

kmod/uapi/nlbus_packet.h documents the records. Columns are the fields of struct nlbus_packet.
"""

from nlbus.kernel.groups import Groups
from nlbus.schema.packet_headers import PROTOCOLS, TCP_FLAGS
from nlbus.schema.schema import RecordSchema
from nlbus.schema.types import U8, U16, U32, U64, Field, fixed, pad
from nlbus.sources.source import NEEDS_ADMIN, Source

FAMILY = "nlbus_packet"
TYPE = 0x7061636B

HOOKS = {0: "pre_routing", 1: "local_in", 2: "forward", 3: "local_out", 4: "post_routing"}  # NF_INET_*
AF = {2: "inet", 10: "inet6"}
VERDICTS = {0: "drop", 1: "accept"}  # NF_*
CT_STATES = {1: "new", 2: "established", 3: "related", 4: "untracked"}
PORTS, TCP, ICMP, ID, FRAGMENT, MORE, TRUNCATED, REPLY = (1 << bit for bit in range(8))  # NLBUS_PACKET_F_*
FLAGS = {
    PORTS: "ports", TCP: "tcp", ICMP: "icmp", ID: "id", FRAGMENT: "fragment", MORE: "more",
    TRUNCATED: "truncated", REPLY: "reply",
}  # fmt: skip

ADDRESS = fixed(16, "address")  # IPv4 mapped: ::ffff:a.b.c.d

FIELDS = (
    Field("time_ns", U64, unit="ns", display="time"),
    Field("src", ADDRESS),
    Field("dst", ADDRESS),
    Field("length", U32, unit="bytes"),
    Field("payload", U32, unit="bytes"),
    Field("iif", U32, absent=0, display="interface"),
    Field("oif", U32, absent=0, display="interface"),
    Field("mark", U32, display="hex"),
    Field("rule", U32, absent=0),
    Field("id", U32),
    Field("seq", U32),
    Field("ack", U32),
    Field("sport", U16),
    Field("dport", U16),
    Field("window", U16),
    Field("tcp_flags", U16, flags=TCP_FLAGS),
    Field("frag_offset", U16, unit="bytes"),
    Field("flags", U16, flags=FLAGS),
    Field("hook", U8, enum=HOOKS),
    Field("family", U8, enum=AF),
    Field("protocol", U8, enum=PROTOCOLS),
    Field("ttl", U8),
    Field("tos", U8, display="hex"),
    Field("icmp_type", U8),
    Field("icmp_code", U8),
    Field("ct_state", U8, enum=CT_STATES, absent=0),
    Field("verdict", U8, enum=VERDICTS),
    pad(7),
)  # struct nlbus_packet

NEEDS = {
    "id": ID,
    "sport": PORTS,
    "dport": PORTS,
    "seq": TCP,
    "ack": TCP,
    "window": TCP,
    "tcp_flags": TCP,
    "icmp_type": ICMP,
    "icmp_code": ICMP,
    "frag_offset": FRAGMENT,
}

DROP = 27
GROUPS = {"drop": DROP} | {name: 28 + hook for hook, name in HOOKS.items()}

PACKET = Source(
    name="packet",
    protocol=31,  # unless the module nlbus has another
    kernel_name="nlbus.ko",
    framing="bus",
    groups=GROUPS,
    # Each packet once on its way in, once on its way out, and wherever a rule drops it.
    default=Groups(GROUPS["pre_routing"], GROUPS["post_routing"], DROP),
    highest=32,
    schemas=(
        RecordSchema(
            name="packet",
            type=TYPE,
            fields=FIELDS,
            needs=NEEDS,
            words={"in": "iif", "out": "oif", "dev": ("iif", "oif"), "proto": "protocol"},
            groups=tuple(GROUPS),
            about="IP packets at netfilter's hooks",
        ),
    ),
    family=FAMILY,
    module=FAMILY,
    privileged=True,
    needs=NEEDS_ADMIN,
    probe=Groups(DROP),
    note="`nlbus packet rules` drops packets, or reports fewer of them.",
    example="nlbus listen packet --where 'dport == 53'",
)
