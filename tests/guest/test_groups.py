"""An event reaches each group of its mask and no other; a member of several groups counts it once."""

import random
from collections.abc import Callable

import pytest

from tests.guest.helpers import Tap, event, mask, order, payloads

Open = Callable[..., Tap]
ALL = range(1, 33)


def test_each_group_hears_its_own_events_only(tap: Open) -> None:
    taps = {group: tap(group) for group in ALL}
    for group in ALL:
        assert order("publish", group, first=group).accepted == 1
    for group, one in taps.items():
        got = one.drain()
        assert payloads(got) == [event(group)]
        assert {d.group for d in got} == {group}
        assert {d.header["groups"] for d in got} == {mask([group])}


def test_each_bit_of_a_mask_counts(tap: Open) -> None:
    taps = {group: tap(group) for group in ALL}
    assert order("publish", *ALL, first=7).accepted == 1
    for group, one in taps.items():
        got = one.drain()
        assert payloads(got) == [event(7)]
        assert {d.group for d in got} == {group}


@pytest.mark.parametrize("seed", range(3))
def test_any_mask_reaches_any_set_of_groups_once_an_event(tap: Open, seed: int) -> None:
    random.seed(seed)
    sets = [random.sample(ALL, random.randint(1, 8)) for _ in range(10)]
    taps = [tap(*groups) for groups in sets]
    masks = [random.sample(ALL, random.randint(1, 6)) for _ in range(60)]
    for i, groups in enumerate(masks):
        order("publish", *groups, first=i)
    for mine, one in zip(sets, taps, strict=True):
        expected = [event(i) for i, groups in enumerate(masks) if set(groups) & set(mine)]
        assert sorted(payloads(one.drain())) == sorted(expected)


def test_events_of_the_kernel_are_from_portid_0_and_its_stamps_are_empty(tap: Open) -> None:
    one = tap(3)
    order("publish", 3)
    [datagram, heartbeat] = one.drain()
    assert (datagram.portid, datagram.uid) == (0, 0)
    for d in (datagram, heartbeat):
        assert (d.header["origin_portid"], d.header["origin_uid"], d.header["repeats"]) == (0, 0, 0)
    assert (heartbeat.header["count"], heartbeat.header["dgram_seq"], heartbeat.header["first_seq"]) == (
        0,
        1,
        1,
    )


def test_nobody_listening_costs_nothing_and_is_said(tap: Open) -> None:
    assert order("publish", 1, count=10).skipped == 10
    assert order("listening", 1).skipped == 1
    one = tap(2)
    assert order("listening", 2).accepted == 1
    assert order("listening", 1).skipped == 1
    assert order("publish", 1, 2).accepted == 1
    assert len(payloads(one.drain())) == 1


@pytest.mark.parametrize(("groups", "size"), [((), 8), ((1,), 32352 + 1)])
def test_no_groups_or_too_large_an_event_is_refused(tap: Open, groups: tuple[int, ...], size: int) -> None:
    one = tap(1)
    assert order("publish", *groups, size=size).refused == 1
    assert order("reserve", *groups, size=size).accepted == 0
    assert one.drain() == []
