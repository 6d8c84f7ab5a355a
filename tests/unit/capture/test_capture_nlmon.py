"""nlmon captures made by tcpdump and dumpcap."""

import struct
from pathlib import Path

import pytest

from nlbus import (
    open_capture,
)
from tests.support import reference
from tests.support.captures import (
    SECOND,
    found,
)

DATA = Path(__file__).parents[2] / "data"
NLMON = sorted(DATA.glob("*nlmon*"))


def by_hand(path: Path) -> list[tuple[int, bytes]]:
    """(time, datagram) of each packet that is not a request."""
    data = path.read_bytes()
    packets = []
    if path.suffix == ".pcapng":
        at = 0
        while at < len(data):
            kind, total = struct.unpack_from("<II", data, at)
            if kind == 6:
                high, low, captured = struct.unpack_from("<12xIII", data, at)
                packets.append((high << 32 | low, data[at + 28 + 16 : at + 28 + captured]))
            at += total
    else:
        at, unit = 24, 1000 if data[:4] == b"\xd4\xc3\xb2\xa1" else 1
        while at < len(data):
            second, fraction, captured = struct.unpack_from("<III", data, at)
            packets.append((second * SECOND + fraction * unit, data[at + 32 : at + 16 + captured]))
            at += 16 + captured
    return [(time, datagram) for time, datagram in packets if not datagram[6] & 1]


@pytest.mark.parametrize("path", NLMON, ids=lambda path: path.name)
def test_captures_of_nlmon_by_tcpdump_and_dumpcap_are_read(path: Path) -> None:
    capture = open_capture(path)
    got = [(m.time_ns, m.type, m.flags, m.seq, m.payload) for m in found(capture)]
    assert got == [
        (time, m.type, m.flags, m.seq, datagram[m.offset + 16 : m.offset + m.length])
        for time, datagram in by_hand(path)
        for m in reference.walk(datagram)[0]
    ]
    assert capture.source is not None
    assert capture.source.name == "route"
    types = {kind for _, kind, *_ in got}
    assert {20, 24} <= types  # RTM_NEWADDR, RTM_NEWROUTE
    stats = capture.stats()
    if "snapped" in path.name:
        assert stats["truncated"] > 0
    else:
        assert {16, 17} <= types  # RTM_NEWLINK, RTM_DELLINK
        assert b"plug0" in b"".join(m[-1] for m in got)
        assert stats["truncated"] == stats["malformed"] == 0
    assert stats["requests"] > 0


def test_three_simultaneous_captures_agree() -> None:
    """They started at different times and stopped together."""
    whole = {
        path.suffix: [m.payload for m in found(open_capture(path))]
        for path in NLMON
        if "snap" not in path.name
    }
    shorter = min(map(len, whole.values()))
    assert shorter > 15
    assert whole[".pcap"][-shorter:] == whole[".pcapng"][-shorter:]
