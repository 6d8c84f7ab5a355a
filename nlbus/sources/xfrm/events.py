"""What happens to states and policies of IPsec: requests for keys, limits, moves."""

from nlbus.schema.schema import Entry, Op, Schema, Struct, Structs
from nlbus.schema.types import BE16, U8, U16, U32, Field, pad
from nlbus.sources.xfrm.objects import SELECTOR_WORDS, WORDS
from nlbus.sources.xfrm.structs import (
    COADDR,
    DIRECTIONS,
    EVENT_FLAGS,
    FAMILIES,
    IF_ID,
    LIFETIME,
    MARK,
    MODES,
    PAD,
    POLICY_TYPE,
    PROTOCOLS,
    REPLAY,
    SA_DIR,
    SA_PCPU,
    SEC_CTX,
    STATE,
    STATE_ID,
    TEMPLATE,
    THRESHOLDS,
    address,
    ident,
    policy,
    selector,
)

ACQUIRE, EXPIRE, POLEXPIRE, FLUSHSA, FLUSHPOLICY, NEWAE = 0x17, 0x18, 0x1B, 0x1C, 0x1D, 0x1E
REPORT, MIGRATE, MAPPING, GETDEFAULT = 0x20, 0x21, 0x26, 0x28
VERDICTS = {0: "unspec", 1: "block", 2: "accept"}  # XFRM_USERPOLICY_*
COMMON: tuple[Entry, ...] = (MARK, IF_ID, SA_DIR, SA_PCPU, *PAD)

ACQUIRES = Schema(
    name="acquire",
    about="packets that need a state which does not exist: a request to key managers",
    ops=(Op(ACQUIRE, "new"),),
    header=(  # struct xfrm_user_acquire
        *ident("sel_family"),
        address("saddr", "sel_family"),
        *selector(),
        *policy("policy_"),
        Field("aalgos", U32, display="hex"),
        Field("ealgos", U32, display="hex"),
        Field("calgos", U32, display="hex"),
        Field("seq", U32),
    ),
    prefix="XFRMA_",
    entries=(Structs("XFRMA_TMPL", 5, TEMPLATE), SEC_CTX, POLICY_TYPE, *COMMON),
    words={**WORDS, "dev": "sel_ifindex"},
    groups=("acquire",),
)

EXPIRIES = Schema(
    name="expire",
    about="states that reached a soft or a hard limit",
    ops=(Op(EXPIRE, "del", has=(224, 1)), Op(EXPIRE, "change")),
    header=(*STATE, Field("hard", U8), pad(7)),  # struct xfrm_user_expire
    prefix="XFRMA_",
    entries=COMMON,
    words=WORDS,
    groups=("expire",),
)

POLICY_EXPIRIES = Schema(
    name="policy_expire",
    about="policies that reached a soft or a hard limit",
    ops=(Op(POLEXPIRE, "del", has=(168, 1)), Op(POLEXPIRE, "change")),
    header=(*policy(), Field("hard", U8), pad(7)),  # struct xfrm_user_polexpire
    prefix="XFRMA_",
    entries=(Structs("XFRMA_TMPL", 5, TEMPLATE), SEC_CTX, POLICY_TYPE, *COMMON),
    words=SELECTOR_WORDS,
    groups=("expire",),
)

MIGRATIONS = Schema(
    name="migrate",
    about="states and policies that move to other addresses",
    ops=(Op(MIGRATE, "change"),),
    header=(  # struct xfrm_userpolicy_id
        *selector(),
        Field("index", U32, absent=0),
        Field("dir", U8, enum=DIRECTIONS),
        pad(3),
    ),
    prefix="XFRMA_",
    entries=(
        Structs(
            "XFRMA_MIGRATE",
            17,
            (  # struct xfrm_user_migrate
                address("old_daddr", "old_family"),
                address("old_saddr", "old_family"),
                address("new_daddr", "new_family"),
                address("new_saddr", "new_family"),
                Field("proto", U8, enum=PROTOCOLS),
                Field("mode", U8, enum=MODES),
                pad(2),
                Field("reqid", U32),
                Field("old_family", U16, enum=FAMILIES),
                Field("new_family", U16, enum=FAMILIES),
            ),
        ),
        Struct(
            "XFRMA_KMADDRESS",
            19,
            (  # struct xfrm_user_kmaddress
                address("local", "family"),
                address("remote", "family"),
                pad(4),
                Field("family", U16, enum=FAMILIES),
            ),
        ),
        Struct(
            "XFRMA_ENCAP",
            4,
            (Field("type", U16), Field("sport", BE16), Field("dport", BE16)),
        ),
        POLICY_TYPE,
        *COMMON,
    ),
    words=SELECTOR_WORDS,
    groups=("migrate",),
)

REPORTS = Schema(
    name="report",
    about="packets of mobile IPv6 that no policy allows",
    ops=(Op(REPORT, "new"),),
    header=(Field("proto", U8, enum=PROTOCOLS), pad(3), *selector()),  # struct xfrm_user_report
    prefix="XFRMA_",
    entries=(COADDR, *PAD),
    words={word: name for word, name in SELECTOR_WORDS.items() if not name.startswith("mark")},
    groups=("report",),
)

MAPPINGS = Schema(
    name="mapping",
    about="peers whose address or port changed behind NAT",
    ops=(Op(MAPPING, "change"),),
    header=(  # struct xfrm_user_mapping
        *STATE_ID,
        Field("reqid", U32),
        address("old_saddr", "family"),
        address("new_saddr", "family"),
        Field("old_sport", BE16),
        Field("new_sport", BE16),
    ),
    prefix="XFRMA_",
    entries=COMMON,
    words={"dst": "daddr"},
    groups=("mapping",),
)

STATE_EVENTS = Schema(
    name="aevent",
    about="sequence numbers and counters of states, as key managers follow them",
    ops=(Op(NEWAE, "change"),),
    header=(  # struct xfrm_aevent_id
        *STATE_ID,
        address("saddr", "family"),
        Field("flags", U32, flags=EVENT_FLAGS),
        Field("reqid", U32),
    ),
    prefix="XFRMA_",
    entries=(LIFETIME, *REPLAY, *THRESHOLDS, *COMMON),
    words=WORDS,
    groups=("aevents",),
)

STATE_FLUSHES = Schema(
    name="state_flush",
    about="deletions of all states, of one protocol or of any",
    ops=(Op(FLUSHSA, "del"),),
    header=(Field("proto", U8, enum=PROTOCOLS),),  # struct xfrm_usersa_flush
    groups=("sa",),
)

POLICY_FLUSHES = Schema(
    name="policy_flush",
    about="deletions of all policies of a type",
    ops=(Op(FLUSHPOLICY, "del"),),
    header=(),
    prefix="XFRMA_",
    entries=(POLICY_TYPE, *PAD),
    groups=("policy",),
)

DEFAULTS = Schema(
    name="default",
    about="what happens to packets that no policy is about",
    ops=(Op(GETDEFAULT, "change"),),
    header=(  # struct xfrm_userpolicy_default
        Field("in", U8, enum=VERDICTS),
        Field("fwd", U8, enum=VERDICTS),
        Field("out", U8, enum=VERDICTS),
    ),
    groups=("policy",),
)
