"""Kernel sources: names as in the kernel's headers, and handshakes byte by byte."""

import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from nlbus.kernel.requests import Reply
from nlbus.sources import SOURCES, find
from nlbus.sources.proc import process_event
from nlbus.sources.source import Handshake
from tests.support import reference

INCLUDE = Path("/usr/include/linux")
NFGENMSG = ">BBH"


def header(name: str) -> str:
    path = INCLUDE / name
    if not path.exists():
        pytest.skip(f"no kernel headers: linux/{name}")
    return path.read_text()


def members(name: str, prefix: str) -> list[str]:
    """The members of an enum with this prefix, in order, without those that only mark its ends."""
    found = re.findall(rf"^\s*({prefix}\w+)(?:\s*=\s*\w+)?,", header(name), re.MULTILINE)
    return [member for member in found if not member.endswith(("_BASE", "_MAX", "_NONE"))]


# names


@pytest.mark.parametrize(
    ("source", "file", "prefix", "base"),
    [
        ("conntrack", "netfilter/nfnetlink_conntrack.h", "IPCTNL_MSG_CT_", 1 << 8),
        ("conntrack", "netfilter/nfnetlink_conntrack.h", "IPCTNL_MSG_EXP_", 2 << 8),
        ("nflog", "netfilter/nfnetlink_log.h", "NFULNL_MSG_", 4 << 8),
        ("nftables", "netfilter/nf_tables.h", "NFT_MSG_", 10 << 8),
        ("xfrm", "xfrm.h", "XFRM_MSG_", 0x10),
    ],
)
def test_types_are_named_as_in_the_kernels_header(source: str, file: str, prefix: str, base: int) -> None:
    theirs = dict(enumerate(members(file, prefix), base))
    assert theirs
    ours = {number: name for number, name in find(source).types.items() if name.startswith(prefix)}
    both = theirs.keys() & ours.keys()
    assert len(both) >= min(len(theirs), len(ours)) - 1
    assert {number: theirs[number] for number in both} == {number: ours[number] for number in both}


def test_audit_records_are_named_as_in_the_kernels_header() -> None:
    theirs = {int(n): name for name, n in re.findall(r"#define\s+(AUDIT_\w+)\s+(\d{4})\b", header("audit.h"))}
    ours = find("audit").types
    assert {number: ours[number] for number in theirs.keys() & ours.keys() if number not in (1100, 1700)} == {
        number: theirs[number] for number in theirs.keys() & ours.keys() if number not in (1100, 1700)
    }
    assert {"AUDIT_SYSCALL", "AUDIT_AVC", "AUDIT_USER_AVC", "AUDIT_EXECVE"} <= set(ours.values())


@pytest.mark.parametrize(
    ("source", "file", "prefix"),
    [
        ("conntrack", "netfilter/nfnetlink.h", "NFNLGRP_CONNTRACK_"),
        ("nftables", "netfilter/nfnetlink.h", "NFNLGRP_"),
        ("xfrm", "xfrm.h", "XFRMNLGRP_"),
        ("sock_diag", "sock_diag.h", "SKNLGRP_"),
        ("audit", "audit.h", "AUDIT_NLGRP_"),
    ],
)
def test_groups_are_numbered_as_in_the_kernels_header(source: str, file: str, prefix: str) -> None:
    theirs = {
        name.removeprefix(prefix).lower().replace("nftrace", "trace"): number
        for number, name in enumerate(members(file, prefix), 1)
    }
    ours = dict(find(source).groups)
    assert {name: theirs[name] for name in ours} == ours


def test_process_events_are_named_as_in_the_kernels_header() -> None:
    text = header("cn_proc.h")
    for name, number in re.findall(r"PROC_EVENT_(\w+)\s*=\s*(0x\w+)", text):
        if name == "NONZERO_EXIT":  # a filter option, not an event kind
            continue
        event = process_event(
            struct.pack("=IIIIHHIIQ6I", 1, 1, 0, 0, 40, 0, int(number, 16), 0, 0, *range(6))
        )
        assert event is not None
        assert event[0] == name.lower()
        assert list(event[1].values()) == list(range(len(event[1])))


def test_every_source_has_an_example() -> None:
    for name, source in SOURCES.items():
        assert source.example.startswith(f"nlbus listen {name}")


# proc's handshake


def handshake(name: str) -> Handshake:
    found = find(name).handshake
    assert found is not None
    return found


def process(what: int, *numbers: int, ack: int = 0) -> bytes:
    body = struct.pack("=IIIIHH", 1, 1, 77, ack, 40, 0) + struct.pack("=IIQ", what, 3, 10**12)
    return body + struct.pack("=6I", *numbers, *[0] * (6 - len(numbers)))


def test_proc_sends_the_request_that_all_kernels_know() -> None:
    body = struct.pack("=IIIIHHI", 1, 1, 9, 9, 4, 0, 1)
    assert handshake("proc").join(1, {}, 9) == reference.message(3, body, seq=9)
    assert handshake("proc").leave(1, 9) == reference.message(3, body[:-4] + struct.pack("=I", 2), seq=9)


@pytest.mark.parametrize("seq", [0, 9, 0xFFFF_FFFF])
def test_proc_recognises_its_own_reply_by_the_ack(seq: int) -> None:
    answer = handshake("proc").answer
    ours = (seq + 1) & 0xFFFF_FFFF
    assert answer(Reply(3, 0, process(0, ack=ours)), seq) == 0
    assert answer(Reply(3, 0, process(0, 1, ack=ours)), seq) == 1
    assert answer(Reply(3, 0, process(0, ack=ours + 1 & 0xFFFF_FFFF)), seq) is None
    assert answer(Reply(3, 0, process(1, 5, ack=ours)), seq) is None
    assert answer(Reply(3, 0, process(0, ack=ours)[:36]), seq) is None


def test_a_process_event_has_its_kind_and_numbers() -> None:
    assert process_event(process(0x80000000, 5, 5, 256, 17, 1, 1)) == (
        "exit",
        {"process_pid": 5, "process_tgid": 5, "exit_code": 256, "exit_signal": 17}
        | {"parent_pid": 1, "parent_tgid": 1},
    )
    assert process_event(process(0x80000000, 6, 5, 0, -1 & 0xFFFF_FFFF, 0, 0)) == (
        "exit",
        {"process_pid": 6, "process_tgid": 5, "exit_code": 0, "exit_signal": 0xFFFF_FFFF},
    )
    assert process_event(process(1, 1, 2, 3, 4)) == (
        "fork",
        {"parent_pid": 1, "parent_tgid": 2, "child_pid": 3, "child_tgid": 4},
    )


@pytest.mark.parametrize(
    "body", [b"", process(1)[:51], process(0x400, 5), b"\2" + process(1)[1:], process(0x80000000)[:58]]
)
def test_an_invalid_process_event_is_none(body: bytes) -> None:
    assert process_event(body) is None


# nflog's handshake


def config(group: int, *attributes: tuple[int, bytes], flags: int = 5, seq: int = 9) -> bytes:
    body = struct.pack(NFGENMSG, 0, 0, group) + b"".join(reference.attribute(*one) for one in attributes)
    return reference.message(0x401, body, flags=flags, seq=seq)


@pytest.mark.parametrize(("group", "number"), [(5, 5), (65535, 65535), (65536, 0)])
def test_nflog_binds_with_all_its_options_in_one_message(group: int, number: int) -> None:
    given = {"copy_range": 96, "threshold": 1, "timeout": 0.25}
    assert handshake("nflog").join(group, given, 9) == config(
        number,
        (1, b"\1"),  # bind
        (2, struct.pack(">IBB", 96, 2, 0)),  # copy the packet
        (4, struct.pack(">I", 25)),
        (5, struct.pack(">I", 1)),
        (6, struct.pack(">H", 1)),  # numbered
    )
    assert handshake("nflog").leave(group, 9) == config(number, (1, b"\2"), flags=1)


def test_nflog_requests_a_buffer_if_packets_are_collected() -> None:
    given = {"copy_range": 0, "threshold": 50, "timeout": 1}
    message = handshake("nflog").join(5, given, 9)
    found = {a.type: a.payload for a in reference.attributes(message[20:])[0]}
    assert found[2] == struct.pack(">IBB", 0, 1, 0)  # no bytes of the packet
    assert found[5] == struct.pack(">I", 50)
    assert found[3] == struct.pack(">I", 32448)


def ack(seq: int, error: int) -> bytes:
    return struct.pack("=iIHHII", error, 16, 0x401, 5, seq, 0)


def test_nflog_recognises_its_own_reply_by_the_sequence_number() -> None:
    answer = handshake("nflog").answer
    assert answer(Reply(2, 0x100, ack(9, 0)), 9) == 0
    assert answer(Reply(2, 0, ack(9, -16)), 9) == 16
    assert answer(Reply(2, 0, ack(8, 0)), 9) is None
    assert answer(Reply(0x400, 0, ack(9, 0)), 9) is None
    assert answer(Reply(2, 0, ack(9, 0)[:19]), 9) is None


@pytest.mark.parametrize("name", ["proc", "nflog"])
@pytest.mark.parametrize("seq", [0, 9])
def test_random_bytes_are_no_reply_and_cause_no_error(name: str, seq: int) -> None:
    answer: Callable[[Reply, int], int | None] = handshake(name).answer
    for length in range(64):
        answer(Reply(2, 0, bytes(length)), seq)
        answer(Reply(3, 0, b"\xff" * length), seq)
