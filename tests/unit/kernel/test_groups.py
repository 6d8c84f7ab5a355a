"""Groups: an immutable set of numbers from 1."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlbus.errors import SchemaError
from nlbus.kernel.groups import Groups

masks = st.integers(0, 0xFFFF_FFFF)


@given(masks)
def test_masks_and_groups_convert_into_each_other(mask: int) -> None:
    groups = Groups.from_mask(mask)
    assert groups.mask == mask
    assert list(groups) == [g for g in range(1, 33) if mask >> (g - 1) & 1]


@given(masks, masks)
def test_set_algebra_gives_groups(one: int, other: int) -> None:
    a, b = Groups.from_mask(one), Groups.from_mask(other)
    results = ((a | b, one | other), (a & b, one & other), (a - b, one & ~other), (a ^ b, one ^ other))
    for result, mask in results:
        assert type(result) is Groups
        assert result.mask == mask
    assert (a <= b) == (one & other == one)


def test_algebra_with_plain_sets_gives_groups_on_either_side() -> None:
    assert type({2} | Groups(1)) is Groups
    assert {2} | Groups(1) == Groups(1, 2)
    assert Groups(1, 2) - {2} == Groups(1)


def test_groups_equal_sets_of_the_same_numbers_and_hash_alike() -> None:
    assert Groups(7, 1, 7) == {1, 7} == Groups(1, 7)
    assert hash(Groups(7, 1)) == hash(Groups(1, 7)) == hash(frozenset({1, 7}))
    assert Groups(1) != Groups(2)


def test_iteration_is_in_ascending_order_and_repr_reads_back() -> None:
    groups = Groups(40, 7, 1)
    assert list(groups) == [1, 7, 40]
    assert repr(groups) == "Groups(1, 7, 40)"
    assert eval(repr(groups)) == groups
    assert 7 in groups
    assert 2 not in groups
    assert "7" not in groups


@pytest.mark.parametrize(
    "make",
    [
        lambda: 3,
        lambda: np.uint8(3),
        lambda: np.array(3),
        lambda: [3],
        lambda: (3, 3),
        lambda: {3},
        lambda: iter([3]),
        lambda: np.array([3]),
        lambda: Groups(3),
        lambda: range(3, 4),
    ],
)
def test_of_accepts_a_number_or_any_iterable_of_numbers(make: Any) -> None:
    groups = Groups.of(make())
    assert groups == Groups(3)
    assert all(type(group) is int for group in groups)


def test_of_groups_is_the_same_object() -> None:
    groups = Groups(1)
    assert Groups.of(groups) is groups


@pytest.mark.parametrize(
    "value",
    [
        0,
        -1,
        True,
        1.0,
        None,
        "1",
        b"\x01",
        [0],
        [1, True],
        [1.5],
        ["link"],
        [None],
        2**32,
        np.bool_(True),
        np.array([1.0]),
    ],
    ids=repr,
)
def test_the_error_for_an_invalid_group_number_says_that_groups_start_at_1(value: Any) -> None:
    with pytest.raises(SchemaError, match="numbered from 1"):
        Groups.of(value)


@pytest.mark.parametrize("mask", [-1, 2**32, True, 1.0, "1"])
def test_an_invalid_32_bit_mask_is_refused(mask: Any) -> None:
    with pytest.raises(SchemaError, match="mask"):
        Groups.from_mask(mask)


def test_a_group_above_32_has_no_mask() -> None:
    assert Groups(32).mask == 1 << 31
    with pytest.raises(SchemaError, match="33"):
        Groups(1, 33).mask  # noqa: B018 - the property raises


def test_the_empty_set_is_a_value() -> None:
    assert not Groups()
    assert Groups().mask == 0
    assert Groups.of([]) == Groups() == Groups.from_mask(0)


def test_groups_are_immutable() -> None:
    groups = Groups(1)
    with pytest.raises(AttributeError):
        groups._ordered = (2,)
    with pytest.raises(AttributeError):
        groups.other = 1
    with pytest.raises(AttributeError):
        del groups._members


def test_groups_survive_copy_and_pickle() -> None:
    groups = Groups(1, 40)
    assert pickle.loads(pickle.dumps(groups)) == groups
    assert copy.deepcopy(groups) == groups
