"""Filters on captured messages: of another kernel, by nlmon."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from nlbus import open_capture
from nlbus.filters.messages import message_filters
from nlbus.sources import find
from tests.support.bpf import passes
from tests.support.conditions import any_condition
from tests.support.reference import message

CORPUS = Path(__file__).parents[2] / "data" / "route-nlmon-6.1.pcapng"
SCHEMAS = find("route").schemas


@pytest.mark.parametrize("table", ["link", "addr", "route"])
def test_random_conditions_on_a_capture(table: str) -> None:
    with open_capture(CORPUS) as capture:
        batches = [batch for batch in capture if len(batch)]
    rng = Random(table)
    seen = 0
    for batch in batches:
        rows = batch.table(table)
        heads = batch.messages
        wire = [
            message(int(heads["type"][i]), batch.payload(i), flags=int(heads["flags"][i]))
            for i in range(len(batch))
        ]
        for _ in range(10 if len(rows) else 1):
            condition = any_condition(rng, rows)
            selected = rows["nl_row"][condition.mask(rows)].tolist()
            for made in message_filters(SCHEMAS, {table: [condition]}, False):
                program = made.program()
                assert all(passes(program, wire[i]) for i in selected), condition
                if not any(part.decoder for part in made.parts):
                    # Requests of processes are there, too: some have no header of the kernel's length.
                    passed = [i for i in rows["nl_row"].tolist() if passes(program, wire[i])]
                    assert passed == selected, condition
        seen += len(rows)
    assert seen
