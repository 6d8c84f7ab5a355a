"""Refusals of the kernel, from bytes: the policy that a value breaks."""

import struct

import pytest

from nlbus.kernel.requests import Reply, attribute, message, refusal

ERROR, ACK_TLVS, CAPPED = 2, 0x200, 0x100
U8, U32, S8, UINT, STRING = 2, 4, 6, 17, 11  # enum netlink_attribute_type


def policy(type: int, *rules: tuple[int, bytes]) -> bytes:
    made = [attribute(1, struct.pack("=I", type)), *(attribute(number, rule) for number, rule in rules)]
    return b"".join(made)


def between(least: int, most: int, *, signed: bool = False) -> tuple[tuple[int, bytes], ...]:
    numbers, form = ((2, 3), "=q") if signed else ((4, 5), "=Q")
    return (numbers[0], struct.pack(form, least)), (numbers[1], struct.pack(form, most))


def refused(value: bytes, rules: bytes, *, offset: int = 16, flags: int = ACK_TLVS) -> str:
    request = message(16, attribute(7, value), 5, 1)
    header = request if not flags & CAPPED else request[:16]
    body = struct.pack("=i", -34) + header
    body += attribute(1, b"out of range\0") + attribute(2, struct.pack("=I", offset)) + attribute(4, rules)
    return str(refusal(Reply(ERROR, flags, body), "changing it"))


@pytest.mark.parametrize(
    ("value", "rules", "limits"),
    [
        (struct.pack("=I", 40), policy(U32, *between(68, 1500)), ": 40 is below 68"),
        (struct.pack("=I", 1501), policy(U32, *between(68, 1500)), ": 1501 is above 1500"),
        (struct.pack("=II", 68, 9), policy(U32, *between(68, 1500)), ""),
        (struct.pack("=b", -5), policy(S8, *between(-4, 4, signed=True)), ": -5 is below -4"),
        (struct.pack("=b", 5), policy(S8, *between(-4, 4, signed=True)), ": 5 is above 4"),
        (struct.pack("=Q", 1 << 40), policy(UINT, *between(0, 9)), f": {1 << 40} is above 9"),
        (b"a", policy(U32, *between(68, 1500)), ": 1 bytes, 4 needed"),
        (b"a", policy(STRING, (6, struct.pack("=I", 2))), ": 1 bytes, at least 2 needed"),
        (b"abc", policy(STRING, (7, struct.pack("=I", 2))), ": 3 bytes, at most 2 allowed"),
        (b"a", policy(U8), ""),
        (b"a", b"", ""),
    ],
)
def test_the_error_says_how_the_value_breaks_the_policy(value: bytes, rules: bytes, limits: str) -> None:
    assert refused(value, rules).endswith(f"(out of range{limits})")


@pytest.mark.parametrize("offset", [17, 19, 23, 24, 1 << 31, (1 << 32) - 1])
def test_an_offset_of_no_attribute_adds_nothing(offset: int) -> None:
    rules = policy(U32, *between(68, 1500))
    assert refused(struct.pack("=I", 40), rules, offset=offset).endswith("(out of range)")


def test_a_capped_ack_has_no_value_to_name() -> None:
    rules = policy(U32, *between(68, 1500))
    assert refused(struct.pack("=I", 40), rules, flags=ACK_TLVS | CAPPED).endswith("(out of range)")
