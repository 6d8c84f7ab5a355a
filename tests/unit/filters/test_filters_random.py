"""Any condition on any schema: the filter passes every message whose row the condition selects, and where it
claims to be exact, no other. An interpreter runs it."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlbus import Expression
from nlbus.filters.compile import least
from nlbus.filters.messages import message_filters
from nlbus.filters.places import HEADER, spots
from nlbus.schema.schema import Schema
from nlbus.sources import SOURCES
from nlbus.table.decoded import decoder
from nlbus.table.table import Table
from tests.support.bpf import passes
from tests.support.columns_reference import happened, size_of, way
from tests.support.conditions import any_condition
from tests.support.decoding import batch_of, decode
from tests.support.reference import message
from tests.support.schemas import Message, any_schema, fitting, spoilt

randoms = st.integers(0, 2**32 - 1).map(Random)
KERNEL = {
    f"{source.name} {schema.name}": schema
    for source in SOURCES.values()
    for schema in source.schemas
    if isinstance(schema, Schema)
}


def check(schema: Schema, messages: list[Message], rng: Random, *, whole: bool) -> None:
    """`whole`: the messages are as the kernel writes them."""
    rows = decode(schema, batch_of(messages))
    table = Table(decoder(schema, None).columns, [rows])
    condition = any_condition(rng, table)
    selected = set(table["nl_row"][condition.mask(table)].tolist())
    ours = set(table["nl_row"].tolist())
    if schema.each is not None and way(schema) != (0, 0):
        return  # these messages come by no group and answer nothing, unlike those of `happened`
    if schema.each is not None:  # a message of this kind may have no row
        ours |= {
            i
            for i, (kind, flags, payload) in enumerate(messages)
            if happened(schema, kind, flags, payload) and len(payload) >= size_of(schema.header)
        }
    others = rng.random() < 0.5
    lengths = [len(payload) for _, _, payload in messages]
    # Padded messages, and those that end before the selector, are left to the decoder.
    whole &= alone(schema, condition) and all(
        length % 4 == 0 and length + HEADER >= least(schema) for length in lengths
    )
    for made in message_filters([schema], {schema.name: [condition]}, others):
        program = made.program()
        passed = {i for i, each in enumerate(messages) if passes(program, wire(each))}
        assert selected <= passed, (condition, made)
        if whole and not any(part.decoder for part in made.parts):
            assert passed & ours == selected, (condition, made)
        if others:
            assert set(range(len(messages))) - ours <= passed


def alone(schema: Schema, condition: Expression) -> bool:
    """Whether no column may have its value from several attributes; the kernel never sends two of these."""
    every = spots(schema)
    columns = condition.columns & every.keys()
    return all(len([spot for spot in every[name] if not spot.in_header]) <= 1 for name in columns)


def wire(each: Message) -> bytes:
    kind, flags, payload = each
    return message(kind, payload, flags=flags)


@settings(deadline=None, max_examples=60)
@given(randoms)
def test_any_condition_on_messages_of_any_schema(rng: Random) -> None:
    schema = any_schema(rng)
    check(schema, [fitting(rng, schema, orderly=True) for _ in range(rng.randint(1, 6))], rng, whole=True)


@settings(deadline=None, max_examples=60)
@given(randoms)
def test_any_condition_on_damaged_messages(rng: Random) -> None:
    schema = any_schema(rng)
    messages = [spoilt(rng, fitting(rng, schema, orderly=True)) for _ in range(rng.randint(1, 6))]
    check(schema, messages, rng, whole=False)


@pytest.mark.parametrize("table", KERNEL)
@settings(deadline=None, max_examples=4)
@given(randoms)
def test_any_condition_on_every_table_of_the_kernel(table: str, rng: Random) -> None:
    schema = KERNEL[table]
    check(schema, [fitting(rng, schema, orderly=True) for _ in range(rng.randint(1, 4))], rng, whole=True)
