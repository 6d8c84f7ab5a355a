"""The plan of a ledger round: publishers, subscribers, their timing and the events' payloads.

Everything follows from a seed.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np

HEADER = np.dtype(
    [("publisher", "<u2"), ("incarnation", "<u2"), ("mask", "<u4"), ("serial", "<u4"), ("seal", "<u4")]
)
SEAL = 0x9E3779B1
ROUND_TIMEOUT = 60.0


def seal(serial: Any, mask: Any) -> Any:
    return (serial * SEAL ^ mask) & 0xFFFFFFFF


def mask_of(groups: Any) -> int:
    return sum(1 << (g - 1) for g in set(groups))


@dataclass
class PublisherPlan:
    number: int
    seed: int
    masks: list[int]
    linger: float
    datagram_bytes: int
    seconds: float
    delay: float
    pace: float  # mean pause between calls
    many: int  # most events in a call
    lives: int  # incarnations; all but the last are killed


@dataclass
class SubscriberPlan:
    number: int
    seed: int
    groups: list[int]
    buffer_events: int | None
    delay: float
    seconds: float  # until it closes; 0: stays to the end
    pause: float  # at most, after a receive
    churn: float  # seconds from one change of membership to the next, on average; 0: none
    threaded: bool  # another thread changes it


@dataclass
class Plan:
    seed: int
    universe: list[int]
    publishers: list[PublisherPlan]
    subscribers: list[SubscriberPlan]
    kills: list[tuple[float, int]] = field(default_factory=list)


def planned(seed: int) -> Plan:
    rng = random.Random(seed)
    universe = rng.sample(range(1, 33), rng.choice([1, 2, 3, 4, 6, 8, 16, 32]))
    seconds = rng.uniform(0.2, 0.5)
    merciful = rng.random() < 0.35  # nobody is killed, so that all copies can be counted

    def some() -> list[int]:
        return rng.sample(universe, rng.randint(1, len(universe)))

    def mask() -> int:
        return sum(1 << (g - 1) for g in some())

    publishers = []
    for number in range(rng.randint(1, 8)):
        publishers.append(
            PublisherPlan(
                number=number,
                seed=rng.getrandbits(32),
                masks=sorted({mask() for _ in range(rng.randint(1, 8))}),
                linger=rng.choice([0.0, 0.0, 0.0, 0.0005, 0.005, 0.05]),
                datagram_bytes=rng.choice([128, 160, 256, 1024, 4096, 16064, 32448, rng.randint(128, 32448)]),
                seconds=seconds * rng.uniform(0.5, 1),
                delay=rng.choice([0, 0, rng.uniform(0, 0.2)]),
                pace=rng.choice([0, 0.0003, 0.001, 0.003]),
                many=rng.choice([1, 8, 64, 512]),
                lives=1 if merciful else rng.choice([1, 2, 3]),
            )
        )
    subscribers = []
    for number in range(rng.randint(1, 16)):
        steady = rng.random() < 0.5
        subscribers.append(
            SubscriberPlan(
                number=number,
                seed=rng.getrandbits(32),
                groups=some(),
                buffer_events=rng.choice([1, 1, 2, 4, 16, 64, 1024, None]),
                delay=0 if steady or rng.random() < 0.5 else rng.uniform(0, 0.3),
                seconds=0 if steady or rng.random() < 0.5 else rng.uniform(0.1, 0.4),
                pause=rng.choice([0, 0, 0.0005, 0.005, 0.03]),
                churn=0 if steady else rng.choice([0.0002, 0.002, 0.02, 0.1]),
                threaded=rng.random() < 0.3,
            )
        )
    kills = [
        (rng.uniform(0.02, seconds), publisher.number)
        for publisher in publishers
        for _ in range(publisher.lives - 1)
    ]
    return Plan(seed, universe, publishers, subscribers, sorted(kills))
