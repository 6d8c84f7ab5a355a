"""The column decoder with many rows, long texts and lists; its memory grows as needed and is freed."""

import gc
import resource
import struct
from pathlib import Path
from random import Random

import numpy as np
import pytest

from nlbus import Batch
from nlbus.schema.schema import Attr, Elements, List, Op, Schema
from nlbus.schema.types import TEXT, U8, U16, U32, Field, pad
from nlbus.table.chunks import Chunk
from nlbus.table.decoded import decoder
from nlbus.table.received import LIVE
from nlbus.table.table import Table
from tests.support.decoding import SOURCE, agree, batch_of, decode
from tests.support.reference import attribute, kernel_chain, message
from tests.support.schemas import any_schema, fitting

KIND = 24
SCHEMA = Schema(
    name="large",
    ops=(Op(KIND, "new"),),
    header=(Field("number", U32),),
    entries=(
        Attr("P_TEXT", 1, TEXT),
        List("P_ARRAY", 2, U16),
        List("P_WORDS", 3, TEXT, repeated=True),
        Elements("P_HOPS", 4, (Field("", U16), Field("weight", U8), pad(1)), "P_", (Attr("P_OIF", 1, U32),)),
    ),
    prefix="P_",
)
ROWS = 100_000


def test_many_rows_are_decoded() -> None:
    numbers = np.arange(ROWS, dtype=np.uint32)
    texts = [attribute(1, b"x" * n) for n in range(50)]
    arrays = [attribute(2, bytes(2 * n)) for n in range(4)]
    bodies = [struct.pack("=I", i) + texts[i % 50] + arrays[i % 4] for i in range(ROWS)]
    wire = [message(KIND, body) for body in bodies]
    batch = Batch.from_datagrams(SOURCE, [kernel_chain(*wire[at : at + 1000]) for at in range(0, ROWS, 1000)])
    found = decode(SCHEMA, batch)
    assert len(found) == ROWS
    assert np.array_equal(found.values(6).values, numbers)  # type: ignore[arg-type]
    lengths = [np.diff(np.asarray(found.values(i).offsets)) for i in (7, 8, 9)]
    assert np.array_equal(lengths[0], numbers % 50)
    assert np.array_equal(lengths[1], numbers % 4)
    assert not lengths[2].any()
    assert not np.asarray(found.values(9).valid).any()


def test_lists_and_texts_may_fill_an_attribute() -> None:
    most = 0xFFFF - 4
    hop = struct.pack("=HBx", 12, 7) + attribute(1, b"\1\0\0\0")
    body = bytes(4) + attribute(1, b"t" * most) + attribute(2, bytes(most))
    body += attribute(3, b"w") * 5000 + attribute(4, hop * (most // 12))
    found = agree(SCHEMA, [(KIND, 0, body), (KIND, 0, bytes(4)), (KIND, 0, body)])
    assert not any(found.damaged)
    assert [len(found.rows[2][name]) for name in ("text", "array", "words", "hops_oif")] == [
        most, most // 2, 5000, most // 12,
    ]  # fmt: skip


def test_many_messages_of_any_kind_decode_like_the_reference() -> None:
    rng = Random(4)
    for _ in range(3):
        schema = any_schema(rng)
        agree(schema, [fitting(rng, schema) for _ in range(500)])


@pytest.mark.soak
def test_offsets_end_at_two_gib() -> None:
    """Text beyond an offset's range is refused; the test takes 6 GiB."""
    body = bytes(4) + attribute(1, b"t" * 65000) + attribute(2, b"") + attribute(3, b"")
    batch = Batch.from_datagrams(SOURCE, [message(KIND, body)] * (2**31 // 65000 + 1))
    with pytest.raises(MemoryError):
        decode(SCHEMA, batch)


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def test_memory_is_freed() -> None:
    rng = Random(5)
    batch = batch_of([fitting(rng, SCHEMA) for _ in range(500)])

    def look() -> None:
        found = decode(SCHEMA, batch)
        for i in range(12):
            found.values(i)

    for _ in range(100):
        look()
    gc.collect()
    before = resident()
    for _ in range(1000):
        look()
    # Each round takes about 100 KiB.
    assert resident() - before < 8 << 20


def test_batches_that_share_memory_do_not_overlap() -> None:
    rows = 20_000  # about 400 KiB of columns
    found = decoder(SCHEMA, None)

    def batch_from(first: int) -> Batch:
        wire = [message(KIND, struct.pack("=I", i)) for i in range(first, first + rows)]
        return Batch.from_datagrams(SOURCE, [kernel_chain(*wire)])

    batches = {first: batch_from(first) for first in range(0, 6 * rows, rows)}
    kept: dict[int, Chunk] = {}
    rng = Random(6)
    before = resident()
    for turn in range(400):
        first = rng.choice(list(batches))
        kept[turn] = found.rows(batches[first].block, None, LIVE)
        numbers = np.asarray(kept[turn].values(6).values)
        assert np.array_equal(numbers, np.arange(first, first + rows))
        if len(kept) == 20:
            for chunk in kept.values():
                numbers = np.asarray(chunk.values(6).values)
                assert numbers[0] % rows == 0
                assert (np.diff(numbers) == 1).all()
            for each in rng.sample(sorted(kept), rng.choice([5, 20])):
                del kept[each]
    kept.clear()
    # All of them together would take 160 MiB.
    assert resident() - before < 24 << 20


def test_a_table_keeps_no_batch() -> None:
    body = bytes(4) + attribute(9, bytes(60_000))
    before = resident()
    tables = []
    for _ in range(60):
        batch = Batch.from_datagrams(SOURCE, [message(KIND, body)] * 20)
        tables.append(Table((), [decode(SCHEMA, batch)]))
    assert sum(map(len, tables)) == 1200
    # All batches together take 69 MiB.
    assert resident() - before < 20 << 20
