"""State in columns against State in dicts: random events of every table that has a key."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from random import Random
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlbus import Batch, State
from nlbus.bus.state import objects
from nlbus.bus.state.difference import difference
from nlbus.bus.state.gather import rows_of
from nlbus.bus.state.scopes import WHOLE
from nlbus.schema.schema import Schema
from nlbus.sources import SOURCES
from nlbus.table.received import REPAIR
from nlbus.table.table import Table
from tests.support.columns_reference import way
from tests.support.reference import message, pad
from tests.support.schemas import fitting
from tests.support.state_model import Model, Row, canonical, frozen

SCHEMAS = {
    f"{source.name}-{schema.name}": (source.name, schema)
    for source in SOURCES.values()
    for schema in source.schemas
    if isinstance(schema, Schema) and schema.key and source.framing == "nlmsg"
}
randoms = st.integers(0, 2**32 - 1).map(Random)
EXAMPLES = settings(max_examples=12)


def events(rng: Random, schema: Schema, count: int) -> list[bytes]:
    """Messages in which keys occur again, with other contents and other meanings."""
    group, seq = way(schema)
    ops = [op for op in schema.ops if op.group in (0, group) and op.seq in (0, seq)]
    size = sum(field.type.size for field in schema.header)
    pool = [fitting(rng, schema, orderly=rng.random() < 0.5)[2] for _ in range(4)]
    found = []
    for _ in range(count):
        payload = rng.choice(pool)
        if rng.random() < 0.5:  # the last attribute of a number counts
            payload = pad(payload) + rng.choice(pool)[size + 3 & ~3 :]
        op = rng.choice(ops)
        found.append(message(op.type, payload, flags=op.value, seq=seq))
    return found


def compare(name: str, rng: Random) -> None:
    """Random events, applied to a State and to the model."""
    source, schema = SCHEMAS[name]
    state = State(source, schema.name)
    view = state[schema.name]
    model = Model(schema, [column.name for column in view.columns])
    for _ in range(rng.randint(1, 6)):
        batch = Batch.from_datagrams(source, events(rng, schema, rng.randint(1, 9)), group=way(schema)[0])
        before = state.position
        done = state.follow(batch)
        rows = [*batch.table(schema.name).iter_rows(absent=False)]
        doubts = [model.apply(row) for row in rows]
        applied = done.get(schema.name, [])
        assert sum(int(each.uncertain.sum()) for each in applied) == sum(doubts)
        assert sum(map(len, state.changes(before).values())) == len(rows)
        assert canonical(view.values()) == canonical(model.rows)
        assert len(view) == len(model.rows)
        assert canonical(view.table.iter_rows(absent=False)) == canonical(model.rows)
        for key, row in view.items():
            assert view.key_of(row) == key
    assert "nothing" not in view
    assert (1, 2, 3, 4, 5, 6) not in view


@pytest.mark.parametrize("name", SCHEMAS)
@EXAMPLES
@given(randoms)
def test_any_events_lead_to_the_rows_of_the_model(name: str, rng: Random) -> None:
    compare(name, rng)


@pytest.mark.parametrize("name", SCHEMAS)
@EXAMPLES
@given(randoms)
def test_rows_are_the_same_where_dead_ones_are_dropped_at_every_turn(name: str, rng: Random) -> None:
    with patch.multiple(objects, SPARE=-(10**9), TIER=2):
        compare(name, rng)


@pytest.mark.parametrize("name", SCHEMAS)
@EXAMPLES
@given(randoms)
def test_the_difference_from_a_dump_makes_its_rows_ours(name: str, rng: Random) -> None:
    source, schema = SCHEMAS[name]
    state = State(source, schema.name)
    stored = state.objects(schema.name)
    group, _ = way(schema)
    state.apply(Batch.from_datagrams(source, events(rng, schema, rng.randint(0, 9)), group=group))
    before = {frozen(stored.keys.key(row)) for row in state[schema.name].values()}
    model = Model(schema, [column.name for column in stored.columns])
    dump = Batch.from_datagrams(source, events(rng, schema, rng.randint(0, 9)), group=group)
    dump.origin_code = REPAIR
    for row in dump.table(schema.name).iter_rows(absent=False):
        model.rows = [each for each in model.rows if model.key(each) != model.key(row)] + [row]
    changed = difference(stored, state.decoded(dump, schema.name), WHOLE, REPAIR)
    rows = [*Table(stored.columns, changed).iter_rows(absent=False)]
    assert lasting(schema, state[schema.name].values()) == lasting(schema, model.rows)
    for key in state[schema.name]:
        assert frozen(stored.keys.key(state[schema.name][key])) == frozen(key)
    if stored.keys.exact and not doubled(dump, model):
        for row in rows:
            assert (row["nl_op"] == "new") == (frozen(stored.keys.key(row)) not in before)
    assert difference(stored, state.decoded(dump, schema.name), WHOLE, REPAIR) == [] or doubled(dump, model)


def lasting(schema: Schema, rows: Iterable[Row]) -> list[str]:
    """The rows without what changes by itself."""
    return canonical(
        {
            name: value
            for name, value in row.items()
            if not any(fnmatchcase(name, each) for each in schema.manners.volatile)
        }
        for row in rows
    )


def doubled(dump: Batch, model: Model) -> bool:
    """Whether a dump has a key twice: the last row counts, and a second look sees the first one differ."""
    return len(dump.table(model.schema.name)) > len(model.rows)


@pytest.mark.parametrize("name", SCHEMAS)
@EXAMPLES
@given(randoms)
def test_a_row_has_the_same_hashes_alone_and_beside_any_other(name: str, rng: Random) -> None:
    source, schema = SCHEMAS[name]
    batch = Batch.from_datagrams(source, events(rng, schema, 6))
    state = State(source, schema.name)
    keys = state.objects(schema.name).keys
    columns = state[schema.name].columns
    for chunk in state.decoded(batch, schema.name):
        together = keys.hashes(chunk)
        for row in range(len(chunk)):
            alone = keys.hashes(rows_of(chunk, np.array([row]), columns))
            assert [int(one[0]) for one in alone] == [int(each[row]) for each in together]
