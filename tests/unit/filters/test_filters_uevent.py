"""Filters of uevents: titles of the kernel's, hashes in udev's header."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlbus import Batch, field
from nlbus.filters.sources import Narrowing
from nlbus.filters.texts import murmur2
from nlbus.sources import find
from nlbus.table.conditions import parse
from nlbus.table.query import Query
from tests.support.bpf import passes
from tests.support.conditions import any_condition

UEVENT = find("uevent")
SO_GET_FILTER = 26


def kernel(action: str, **keys: str) -> bytes:
    keys = {"ACTION": action, "DEVPATH": "/devices/x", **keys}
    parts = (f"{action}@/devices/x", *(f"{key}={value}" for key, value in keys.items()))
    return b"".join(part.encode() + b"\0" for part in parts)


def udev(action: str, **keys: str) -> bytes:
    text = kernel(action, **keys).split(b"\0", 1)[1]
    hashes = [murmur2(keys[name].encode()) if name in keys else 0 for name in ("SUBSYSTEM", "DEVTYPE")]
    head = b"libudev\0" + struct.pack(">I", 0xFEEDCAFE) + struct.pack("=III", 40, 40, len(text))
    return head + struct.pack(">IIII", *hashes, 0, 0) + text


DATAGRAMS = [
    make(action, **keys)
    for make in (kernel, udev)
    for action in ("add", "remove", "change")
    for keys in ({"SUBSYSTEM": "net"}, {"SUBSYSTEM": "block", "DEVTYPE": "disk"}, {})
] + [b"", b"a", b"add@", b"libudev\0", b"libudev\0\xfe\xed\xca\xfe"]


@pytest.mark.parametrize(
    ("condition", "most"),
    [
        ("action == add", 14),
        ("action != add", 19),
        ("action in (add, remove)", 18),
        ("not action in (add, remove)", 16),
        ("subsystem == net", 17),
        ("subsystem == net and action == add", 9),
        ("devtype == disk or subsystem == net", 20),
        ("subsystem != net", 23),
        ("devpath ~ '/devices/*'", 23),
        ("not (subsystem == net and action == add)", 23),
    ],
)
def test_only_what_cannot_match_is_dropped(condition: str, most: int) -> None:
    where = parse(condition)
    programs = [*Narrowing(UEVENT, {"uevent": [where]}, others=False)]
    batch = Batch.from_datagrams("uevent", DATAGRAMS)
    wanted = {batch.payload(i) for i in Query(UEVENT, None, where).table(batch, "uevent")["nl_row"].tolist()}
    passed = [each for each in DATAGRAMS if not programs or passes(decoded(programs[0]), each)]
    assert wanted <= {*passed}
    assert len(passed) <= most


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1).map(Random))
def test_any_condition_passes_what_it_selects(rng: Random) -> None:
    batch = Batch.from_datagrams("uevent", DATAGRAMS)
    names = ("action", "subsystem", "devtype", "major", "devpath")
    where = any_condition(rng, batch.table("uevent").select(names))
    wanted = {batch.payload(i) for i in Query(UEVENT, None, where).table(batch, "uevent")["nl_row"].tolist()}
    for program in Narrowing(UEVENT, {"uevent": [where]}, others=False):
        assert wanted <= {each for each in DATAGRAMS if passes(decoded(program), each)}, where


def decoded(program: bytes) -> list[tuple[int, int, int, int]]:
    return [*struct.iter_unpack("=HBBI", program)]


def test_hashes_are_those_of_libudev() -> None:
    try:
        lib = ctypes.CDLL("libudev.so.1")
    except OSError:
        pytest.skip("no libudev here")
    lib.udev_new.restype = lib.udev_monitor_new_from_netlink.restype = ctypes.c_void_p
    monitor = ctypes.c_void_p(lib.udev_monitor_new_from_netlink(ctypes.c_void_p(lib.udev_new()), b"udev"))
    words = ("net", "block", "usb", "x", "longer_than_the_others")
    for word in words:
        assert lib.udev_monitor_filter_add_match_subsystem_devtype(monitor, word.encode(), None) >= 0
    assert lib.udev_monitor_filter_update(monitor) >= 0
    with socket.socket(fileno=os.dup(lib.udev_monitor_get_fd(monitor))) as sock:
        length = ctypes.c_uint(400)
        program = ctypes.create_string_buffer(8 * length.value)
        libc = ctypes.CDLL(None)
        assert libc.getsockopt(sock.fileno(), 1, SO_GET_FILTER, program, ctypes.byref(length)) == 0
    values = {k for _, _, _, k in decoded(program.raw[: 8 * length.value])}
    assert {murmur2(word.encode()) for word in words} <= values


def test_a_condition_that_no_header_tells_makes_no_filter() -> None:
    assert [*Narrowing(UEVENT, {"uevent": [field("devname") == "sda"]}, others=False)] == []
