"""States of IPsec with algorithms, which need modules that not every kernel has: compared with `ip xfrm`."""

import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from nlbus import State, Subscriber, snapshot
from tests.guest.packet_scene import run
from tests.support.sockets import drain, wait_until
from tests.support.xfrm_text import of_states, states

Subscribe = Callable[..., Subscriber]
ENDS = "src 10.0.0.1 dst 10.0.0.2"
STATES = (
    f"{ENDS} proto esp spi 0x100 mode tunnel reqid 4 aead rfc4106(gcm(aes)) 0x{'1a' * 20} 128 "
    "mark 1 mask 0xf",
    f"{ENDS} proto esp spi 0x101 mode transport enc cbc(aes) 0x{'2b' * 16} auth hmac(sha256) 0x{'3c' * 32} "
    "encap espinudp 4500 4501 0.0.0.0 if_id 7",
    f"{ENDS} proto ah spi 0x102 mode transport auth-trunc hmac(sha256) 0x{'4d' * 32} 96 replay-window 64",
    f"src fd00::1 dst fd00::2 proto esp spi 0x103 mode tunnel enc cbc(aes) 0x{'2b' * 16} "
    f"auth hmac(sha1) 0x{'5e' * 20}",
)


@pytest.fixture
def _states(netns: int) -> None:
    for name in ("esp4", "esp6", "ah4", "xfrm_user"):
        if subprocess.run(["modprobe", name], capture_output=True, check=False).returncode:
            pytest.skip(f"no module {name}")
    for one in STATES:
        run(f"ip xfrm state add {one}")


def by_spi(state: dict[str, Any]) -> int:
    return int(state["spi"])


@pytest.mark.usefixtures("_states")
def test_states_are_those_of_ip() -> None:
    found = snapshot("xfrm", "state")
    assert (found.unknown, found.malformed) == (0, 0)
    ours, theirs = of_states(found.iter_rows(absent=False)), states(run("ip xfrm state"))
    assert len(ours) == len(STATES)
    assert sorted(ours, key=by_spi) == sorted(theirs, key=by_spi)


@pytest.mark.usefixtures("_states")
def test_no_column_has_a_key() -> None:
    for row in snapshot("xfrm", "state").iter_rows(absent=False):
        assert not any(key in str(row) for key in ("1a1a", "2b2b", "3c3c", "4d4d"))
        assert not any(isinstance(value, bytes) for value in row.values())


@pytest.mark.usefixtures("_states")
def test_a_hard_limit_deletes_a_state(subscribe: Subscribe) -> None:
    sub = subscribe("xfrm", tables=["state", "expire"], snapshot=["state"])
    state = State("xfrm", "state")
    ops = []

    def spis() -> set[int]:
        for batch in drain(sub, 0.02):
            state.apply(batch)
            ops.extend(row["hard"] for row in batch.table("expire").iter_rows())
        return {row["spi"] for row in state["state"].iter_rows()}

    wait_until(lambda: spis() == {0x100, 0x101, 0x102, 0x103})
    run(f"ip xfrm state add {STATES[2].replace('0x102', '0x104')} limit time-soft 1 limit time-hard 2")
    run("ip xfrm state del src 10.0.0.1 dst 10.0.0.2 proto ah spi 0x102")
    wait_until(lambda: spis() == {0x100, 0x101, 0x103, 0x104})
    wait_until(lambda: spis() == {0x100, 0x101, 0x103})
    assert ops == [0, 1]
