"""Every table of every source: messages built from its schema and captured ones, intact and damaged."""

from functools import cache
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlbus import open_capture
from nlbus.schema.schema import Schema
from nlbus.sources import SOURCES
from nlbus.table.decoded import decoder
from tests.support.decoding import agree, agree_at_the_edge, batch_of, decode, rows_of
from tests.support.schemas import Message, fitting, spoilt

DATA = Path(__file__).parents[2] / "data"
SCHEMAS = {
    f"{source.name}-{schema.name}": schema
    for source in SOURCES.values()
    for schema in source.schemas
    if isinstance(schema, Schema)
}
randoms = st.integers(0, 2**32 - 1).map(Random)
FUZZ = settings(deadline=None, max_examples=25)


@cache
def captured() -> list[Message]:
    found = []
    for batch in open_capture(str(DATA / "route-nlmon-6.1.pcap"), on_loss="ignore"):
        rows = batch.messages
        for i, (kind, flags) in enumerate(zip(rows["type"].tolist(), rows["flags"].tolist(), strict=True)):
            found.append((kind, flags, batch.payload(i)))
    return found


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
@FUZZ
@given(randoms)
def test_messages_built_from_a_schema_decode_like_the_reference(schema: Schema, rng: Random) -> None:
    messages = [fitting(rng, schema) for _ in range(3)]
    agree(schema, messages)
    messages = [spoilt(rng, message) for message in messages]
    agree(schema, messages)
    agree_at_the_edge(schema, messages)


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_every_column_is_filled(schema: Schema) -> None:
    rng = Random(schema.name)
    orderly = [fitting(rng, schema, orderly=True) for _ in range(100)]
    assert not any(agree(schema, orderly).damaged)
    found = agree(schema, orderly + [fitting(rng, schema) for _ in range(300)])
    empty = [name for name in found.rows[0] if all(row[name] in (None, []) for row in found.rows)]
    assert empty == []


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_each_column_can_be_decoded_alone(schema: Schema) -> None:
    rng = Random(schema.name)
    messages = [fitting(rng, schema) for _ in range(20)]
    batch = batch_of(messages + [spoilt(rng, message) for message in messages], schema)
    every = rows_of(schema, decode(schema, batch))
    for column in decoder(schema, None).columns[6:]:
        wanted = frozenset((column.name,))
        found = rows_of(schema, decode(schema, batch, wanted), wanted)
        assert found == [{column.name: row[column.name]} for row in every]


def test_a_capture_has_rows_of_many_tables() -> None:
    full = {name for name, schema in SCHEMAS.items() if agree(schema, captured()).rows}
    assert {"route-link", "route-addr", "route-route"} <= full


@pytest.mark.parametrize(
    "schema", [schema for name, schema in SCHEMAS.items() if name.startswith("route-")], ids=lambda s: s.name
)
@FUZZ
@given(randoms)
def test_captured_messages_decode_like_the_reference(schema: Schema, rng: Random) -> None:
    messages = [spoilt(rng, message) for message in rng.sample(captured(), 4)]
    agree(schema, messages)
    agree_at_the_edge(schema, messages)
