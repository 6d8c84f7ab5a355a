"""Paired rounds: order, counts and ratio."""

import itertools
from collections import Counter
from collections.abc import Callable

import pytest

from nlbus.bench.pairing import LEAST_ROUNDS, Pairs, Turn, Uncounted, alternate, compare, timed, williams


def writing(name: str, order: list[str], cost: float = 1.0, delivered: int = 10) -> Callable[[], Turn]:
    def side() -> Turn:
        order.append(name)
        return Turn(cost, delivered)

    return side


@pytest.mark.parametrize("names", ["ab", "abc", "abcd", "abcde", "abcdef", "abcdefg", "abcdefghi"])
def test_each_side_takes_each_place_and_follows_each_other_side(names: str) -> None:
    order: list[str] = []
    rounds = list(alternate([writing(name, order) for name in names], 2, warm_up=0))
    n = len(names)
    turns = [order[i : i + n] for i in range(0, len(order), n)]
    assert len(turns) == 2 * n
    for one_round in (turns[:n], turns[n:]):
        for place in range(n):
            assert sorted(turn[place] for turn in one_round) == sorted(names)
    follows = Counter(pair for turn in turns for pair in itertools.pairwise(turn))
    assert [follows[pair] for pair in itertools.permutations(names, 2)] == [2] * (n * (n - 1))
    assert rounds == [[Turn(n, 10 * n) for _ in names]] * 2


def test_an_even_number_of_sides_is_balanced_in_one_round() -> None:
    for n in (2, 4, 6, 10):
        follows = Counter(pair for turn in range(n) for pair in itertools.pairwise(williams(n, turn)))
        assert [follows[pair] for pair in itertools.permutations(range(n), 2)] == [1] * (n * (n - 1))


def test_three_sides_rotate_one_way_and_then_the_other() -> None:
    order: list[str] = []
    list(alternate([writing(name, order) for name in "abc"], 2, warm_up=0))
    assert "".join(order) == "abcbcacab" + "cbaacbbac"


def test_warm_up_is_not_counted() -> None:
    order: list[str] = []
    assert len(list(alternate([writing("a", order)], 3, warm_up=2))) == 3
    assert len(order) == 5


def test_the_ratio_compares_the_mean_of_both_floors_with_ours() -> None:
    pairs = Pairs()
    order: list[str] = []
    compare(
        pairs,
        writing("c", order, cost=100),
        writing("again", order, cost=120),
        writing("ours", order, cost=220),
        rounds=4,
    )
    assert pairs.ratio == 0.5
    assert pairs.controls == [100 / 120] * 4
    assert pairs.spread == pytest.approx(1 / 5)
    assert (pairs.floor_ns, pairs.ours_ns) == ([11.0] * 4, [22.0] * 4)
    measured = pairs.measurement("growth", "nlbus", "receive", reference="C")
    assert (measured.ratio, measured.spread, measured.median) == (pairs.ratio, pairs.spread, 22.0)
    assert (measured.sent, measured.delivered, measured.lost) == (120, 120, 0)


def test_an_event_neither_delivered_nor_lost_ends_the_measurement() -> None:
    sides = [writing("c", []), lambda: Turn(1, 8, 1)]
    with pytest.raises(Uncounted, match="side 1: 8 delivered and 1 lost of 10"):
        list(alternate(sides, 1, before=lambda: 10))
    sides[1] = lambda: Turn(1, 8, 2)
    assert list(alternate(sides, 1, before=lambda: 10))[-1][1] == Turn(2, 16, 4)


def test_setup_and_teardown_are_not_timed() -> None:
    clock: list[str] = []
    side = timed(lambda: clock.append("work") or 1)
    list(
        alternate(
            [side, side],
            1,
            before=lambda: clock.append("before"),
            after=lambda: clock.append("after"),
            warm_up=0,
        )
    )
    assert clock == ["before", "work", "after", "work", "after"] * 2


def test_rounds_end_with_their_time_after_a_minimum() -> None:
    def side() -> Turn:
        return Turn(1.0, 1)

    assert len(list(alternate([side, side], 50, seconds=0))) == LEAST_ROUNDS
    assert len(list(alternate([side, side], 50, seconds=60))) == 50
    assert len(list(alternate([side, side], 1, seconds=0))) == 1
