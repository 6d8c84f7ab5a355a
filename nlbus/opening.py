"""What a subscriber is asked to be, checked: whom to believe, how large a buffer, which options."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Literal

from nlbus.errors import SchemaError
from nlbus.groups import integer
from nlbus.sources import Source, did_you_mean
from nlbus.truesize import truesize

DEFAULT_BUFFER = 64 << 20  # of truesize; the kernel takes it from memory only as it fills
GROWN_BUFFER = 256 << 20  # that the default grows to, twofold after each overrun
MAX_BUFFER = 0x7FFF_F000
MAX_TRUSTED = 16  # TRUSTED of _core/scatter.pxd
NO_UID = 0xFFFF_FFFF  # (uid_t) -1

Trust = Literal["any"] | Iterable[int] | None


def buffer_sizes(events: int | None, event_bytes: int) -> tuple[int, int]:
    """Bytes of receive buffer for so many single events, and what it may grow to: nothing if asked for."""
    if events is None:
        return DEFAULT_BUFFER, GROWN_BUFFER
    if events < 1:
        raise SchemaError(f"buffer_events={events}: at least 1")
    # One more: the kernel refuses a datagram that would fill the buffer exactly.
    size = min((events + 1) * truesize(event_bytes), MAX_BUFFER)
    return size, size


def trusted(source: Source, trust: Trust) -> frozenset[int] | None:
    """The uids to believe; None: any."""
    if trust == "any":
        return None
    if trust is not None:
        if isinstance(trust, str):
            raise SchemaError(f"trust={trust!r}: uids, or 'any'")
        uids = frozenset(integer(uid, "a uid of trust") for uid in trust)
        if len(uids) > MAX_TRUSTED or any(not 0 <= uid < NO_UID for uid in uids):
            raise SchemaError(f"trust={sorted(uids)}: at most {MAX_TRUSTED} uids, each of 32 bits")
        return uids
    return frozenset({0, os.getuid()} if source.trust_self else {0})


def option_values(source: Source, options: Mapping[str, float] | None) -> dict[str, float]:
    """The source's options: those given, the others as they are by default."""
    values = {name: option.default for name, option in source.options.items()}
    for name, value in (options or {}).items():
        if name not in source.options:
            known = ", ".join(source.options) or "none"
            hint = did_you_mean(name, source.options)
            raise SchemaError(f"no option {name!r} of {source.name}{hint}: there are {known}")
        option = source.options[name]
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise SchemaError(f"option {name}={value!r} of {source.name}: a number ({option.meaning})")
        if not option.lowest <= value <= option.highest:
            raise SchemaError(
                f"option {name}={value} of {source.name}: from {option.lowest:g} to {option.highest:g} "
                f"({option.meaning})"
            )
        values[name] = value
    return values
