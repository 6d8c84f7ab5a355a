"""nlbus.kernel.constants compared with the values compiled from the kernel's headers."""

from enum import Enum

import pytest

from nlbus._wire.wire import CONSTANTS
from nlbus.kernel import constants as netlink

FLAGS = (
    netlink.MessageFlag,
    netlink.GetFlag,
    netlink.NewFlag,
    netlink.DeleteFlag,
    netlink.AckFlag,
)


def compiled(prefix: str) -> dict[str, int]:
    return {n.removeprefix(prefix): v for n, v in CONSTANTS.items() if n.startswith(prefix)}


def named(*classes: type[Enum]) -> dict[str, int]:
    return {name: member.value for each in classes for name, member in each.__members__.items()}


def test_protocols_are_the_kernels() -> None:
    assert named(netlink.Protocol) == compiled("NETLINK_")


def test_message_types_are_the_kernels() -> None:
    assert named(netlink.MessageType) == compiled("NLMSG_")


def test_flags_are_the_kernels() -> None:
    # Older headers lack BULK.
    assert named(*FLAGS) == {"BULK": 0x200} | compiled("NLM_F_")


def test_flag_names_are_unique() -> None:
    assert sum(len(each.__members__) for each in FLAGS) == len(named(*FLAGS))


def test_common_flags_share_no_bit_with_the_others() -> None:
    common = sum(netlink.MessageFlag)
    for each in FLAGS[1:]:
        assert not common & sum(each)


@pytest.mark.parametrize("each", FLAGS)
def test_flags_combine_and_keep_unknown_bits(each: type[netlink.MessageFlag]) -> None:
    # a flag of a later kernel must not be an error for a reader
    assert each(0x8000).value == 0x8000
    assert (each(0x100) | netlink.MessageFlag.REQUEST) == 0x101
