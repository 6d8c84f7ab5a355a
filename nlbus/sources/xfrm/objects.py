"""The states (SA) and policies of IPsec: what the kernel keeps."""

from nlbus.schema.manners import Doubt, Manners
from nlbus.schema.schema import Dump, Filter, Op, Schema, Structs
from nlbus.sources.xfrm.structs import (
    IF_ID,
    MARK,
    OF_STATE,
    PAD,
    POLICY_TYPE,
    SA_DIR,
    SA_PCPU,
    SEC_CTX,
    STATE,
    TEMPLATE,
    policy,
)

NEWSA, DELSA, GETSA, NEWPOLICY, DELPOLICY, GETPOLICY = range(0x10, 0x16)
UPDPOLICY, UPDSA = 0x19, 0x1A
XFRMA_SA, XFRMA_POLICY, XFRMA_PROTO = 6, 7, 25
USERSA_ID, USERPOLICY_ID = 24, 64  # bytes of the struct that a message of a deletion begins with

WORDS = {"src": "saddr", "dst": "daddr", "dir": "sa_dir", "mark": "mark_v", "mask": "mark_m"}
SELECTOR_WORDS = {
    "src": "sel_saddr",
    "dst": "sel_daddr",
    "sport": "sel_sport",
    "dport": "sel_dport",
    "dev": "sel_ifindex",
    "mark": "mark_v",
    "mask": "mark_m",
}

STATES = Schema(
    name="state",
    about="security associations: their ends, algorithms and counters; never their keys",
    # A hard limit deletes a state with no other message.
    ops=(
        Op(NEWSA, "new"),
        Op(UPDSA, "change"),
        Op(DELSA, "del", within=(USERSA_ID, XFRMA_SA)),
    ),
    header=STATE,
    prefix="XFRMA_",
    entries=OF_STATE,
    # The kernel looks states up by these; those without SPI, which wait for keys, have a number.
    key=("family", "daddr", "proto", "spi", "mark_v", "mark_m", "seq"),
    words=WORDS,
    groups=("sa",),
    manners=Manners(
        unless={"seq": "spi"},
        volatile=(
            "curlft_*", "stats_*", "replay_oseq", "replay_seq", "replay_bitmap", "replay_esn_oseq*",
            "replay_esn_seq*", "lastused",
        ),
        doubts=(
            Doubt(of="expire", ops=("del",), why="a state at its hard limit goes without another message"),
            Doubt(of="state_flush", why="a flush deletes states without a message for each"),
            Doubt(of="migrate", why="states move to other addresses without a message"),
            Doubt(of="mapping", why="the peer's address and port change without another message"),
            Doubt(
                of="state",
                ops=("new", "change"),
                having="seq",
                why="a state that answers an acquire replaces the incomplete one without a message",
            ),
        ),
        unheard="states that wait for keys or for their update (allocspi)",
    ),
    dump=Dump(GETSA, (b"",), (Filter("proto", 1, number=XFRMA_PROTO, unless=(0, 255)),)),
)  # fmt: skip

POLICIES = Schema(
    name="policy",
    about="which packets IPsec protects, and how",
    ops=(
        Op(NEWPOLICY, "new"),
        Op(UPDPOLICY, "change"),
        Op(DELPOLICY, "del", within=(USERPOLICY_ID, XFRMA_POLICY)),
    ),
    header=policy(),
    prefix="XFRMA_",
    entries=(
        Structs("XFRMA_TMPL", 5, TEMPLATE),
        SEC_CTX,
        POLICY_TYPE,
        MARK,
        IF_ID,
        SA_DIR,
        SA_PCPU,
        *PAD,
    ),
    key=("index",),
    words={**SELECTOR_WORDS, "ptype": "type"},
    groups=("policy",),
    manners=Manners(
        volatile=("curlft_*",),
        doubts=(
            Doubt(of="policy_expire", ops=("del",), why="as of states"),
            Doubt(of="policy_flush", why="a flush deletes policies without a message for each"),
            Doubt(of="migrate", why="the templates of policies move to other addresses without a message"),
        ),
        unheard="policies of single sockets",
    ),
    dump=Dump(GETPOLICY, (b"",)),
)
