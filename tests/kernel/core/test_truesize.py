"""The model of a datagram's memory cost, compared with the kernel's charge."""

from collections.abc import Callable

import pytest

from nlbus import Publisher, Subscriber
from nlbus.kernel.truesize import truesize
from tests.support.sockets import Sender, payload, proc_netlink

SIZES = [
    1, 16, 64, 96, 255, 256, 257, 300, 512, 703, 704, 705,
    1000, 1727, 1728, 1729, 3775, 3776, 3777, 4096, 7871, 7872, 7873, 8192,
    16063, 16064, 16065, 20000, 32447, 32448, 32449, 64000, 65216, 65217, 130752, 130753,
    200_000,
]  # fmt: skip


@pytest.mark.parametrize(
    ("length", "cost"),
    [(0, 832), (256, 832), (257, 1280), (16_064, 16_640), (32_448, 33_024), (32_449, 65_792)],
)
def test_the_model_knows_the_slab_steps(length: int, cost: int) -> None:
    assert truesize(length) == cost


@pytest.mark.parametrize("copies", [1, 7])
def test_the_kernel_charges_what_the_model_computes(
    subscribe: Callable[..., Subscriber], copies: int
) -> None:
    raw = subscribe("raw:2", groups=1)
    wrong = {}
    with Sender() as sender:
        for length in SIZES:
            for i in range(copies):
                sender.send(payload(length, i))
            charged = proc_netlink(raw).rmem
            assert charged == raw.stats()["buffer_used"]
            if charged != copies * truesize(length):
                wrong[length] = (charged, copies * truesize(length))
            while raw.stats()["buffer_used"]:
                raw.recv(0)
    assert not wrong


def test_each_of_several_listeners_is_charged(subscribe: Callable[..., Subscriber]) -> None:
    raws = [subscribe("raw:2", groups=1) for _ in range(5)]
    with Sender() as sender:
        sender.send(payload(5000))
    assert {proc_netlink(raw).rmem for raw in raws} == {truesize(5000)}


def test_a_publishers_datagrams_cost_what_their_bytes_say(
    subscribe: Callable[..., Subscriber], publisher: Publisher
) -> None:
    sub = subscribe(groups=1)
    charged = 0
    for length in (0, 1, 64, 160, 161, 5000, 32_000):
        publisher.publish(payload(length), 1)
        charged += truesize(length + 96 + (8 if length == 0 else 0))
        assert proc_netlink(sub).rmem == charged
