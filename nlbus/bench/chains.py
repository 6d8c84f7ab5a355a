"""Chains of netlink messages, as bytes ready to send."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nlbus._typing import Array

PAYLOAD = 64
EVENT = np.dtype([("id", "<u8"), ("time", "<u8"), ("value", "<f8", (6,))])  # 64 bytes
HEADER = np.dtype([("len", "<u4"), ("type", "<u2"), ("flags", "<u2"), ("seq", "<u4"), ("pid", "<u4")])


@dataclass
class Chain:
    """Messages one behind the other; `edges` are where they start, and where the last one ends."""

    memory: Array
    edges: Array

    def datagrams(self, count: int, per: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Where `count` datagrams of `per` messages start in `memory`, taken at random, and their lengths."""
        first = rng.integers(0, len(self.edges) - per, count)
        starts = self.edges[first]
        return starts.astype(np.uint64), (self.edges[first + per] - starts).astype(np.uint32)


def uniform(messages: int, payload: int = PAYLOAD) -> Chain:
    """Payloads of one length."""
    return chain(np.full(messages, payload))


def varied(messages: int, rng: np.random.Generator) -> Chain:
    """Payloads of 16 to 112 bytes, 64 on average; most lengths are no multiple of 4."""
    return chain(rng.integers(16, 113, messages))


def chain(payloads: Array) -> Chain:
    """Messages with payloads of these lengths."""
    lengths = HEADER.itemsize + payloads
    edges = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum((lengths + 3) & ~3, out=edges[1:])
    headers = np.zeros(len(lengths), HEADER)
    headers["len"] = lengths
    headers["type"] = 0x20
    headers["seq"] = np.arange(len(lengths))
    memory = np.full(edges[-1], 0x5A, np.uint8)
    places = edges[:-1, None] + np.arange(HEADER.itemsize)
    memory[places] = headers.view(np.uint8).reshape(-1, HEADER.itemsize)
    return Chain(memory, edges)


def events(count: int) -> Array:
    """Records of EVENT, numbered by `id`."""
    records = np.zeros(count, EVENT)
    records["id"] = np.arange(count)
    records["value"] = 0.5
    return records
