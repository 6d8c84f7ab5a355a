"""Any schema and any bytes: the compiled decoder agrees with the reference and stays within the message."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from nlbus.table.decoded import decoder
from tests.support.decoding import agree, agree_at_the_edge, batch_of, decode, rows_of
from tests.support.schemas import any_schema, fitting, spoilt

# Drawn by seed: a schema takes more decisions than hypothesis handles well.
randoms = st.integers(0, 2**32 - 1).map(Random)
FUZZ = settings(deadline=None, max_examples=300)


@FUZZ
@given(randoms, st.booleans())
def test_valid_messages_decode_like_the_reference(rng: Random, chained: bool) -> None:
    schema = any_schema(rng)
    agree(schema, [fitting(rng, schema) for _ in range(rng.randint(0, 6))], chained=chained)


@FUZZ
@given(randoms)
def test_damaged_messages_decode_like_the_reference(rng: Random) -> None:
    schema = any_schema(rng)
    messages = [spoilt(rng, fitting(rng, schema)) for _ in range(rng.randint(1, 4))]
    agree(schema, messages)
    agree_at_the_edge(schema, messages)


@FUZZ
@given(randoms)
def test_any_columns_have_the_same_values_as_all(rng: Random) -> None:
    schema = any_schema(rng)
    messages = [fitting(rng, schema) for _ in range(3)]
    batch = batch_of(messages + [spoilt(rng, message) for message in messages], schema)
    every = rows_of(schema, decode(schema, batch))
    names = [column.name for column in decoder(schema, None).columns]
    wanted = frozenset(name for name in names if rng.random() < 0.4)
    found = rows_of(schema, decode(schema, batch, wanted), wanted)
    assert found == [{name: value for name, value in row.items() if name in wanted} for row in every]


@FUZZ
@given(randoms)
def test_messages_of_one_shape_and_their_damaged_neighbours(rng: Random) -> None:
    """The decoder recognises the previous message's shape; it must notice every difference."""
    schema = any_schema(rng)
    kind, flags, payload = fitting(rng, schema)
    messages = []
    for _ in range(rng.randint(2, 8)):
        other = bytearray(payload)
        for _ in range(rng.randint(0, 2) if payload else 0):
            other[rng.randrange(len(other))] ^= 1 << rng.randrange(8)
        messages += rng.randint(1, 2) * [(kind, flags, bytes(other))]
        if rng.random() < 0.3:
            messages.append(spoilt(rng, (kind, flags, payload)))
    agree(schema, messages)
