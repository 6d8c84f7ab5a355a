"""Tests of the modules in a guest kernel (`make test-kmod`), each in a network namespace of its own."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.guest import helpers
from tests.guest.helpers import Tap
from tests.guest.packet_scene import packets  # noqa: F401
from tests.kernel.conftest import child, listen, netns, others, publisher, subscribe  # noqa: F401

GUEST = os.environ.get("NLBUS_GUEST")  # the kernel's name in tests/lab

collect_ignore_glob = [] if GUEST else ["test_*.py"]


@pytest.fixture(scope="session", autouse=True)
def modules() -> Iterator[None]:
    """nlbus.ko, nlbus_gen.ko and nlbus_probe.ko, loaded without parameters."""
    helpers.load_all()
    yield
    helpers.unload_all()


@pytest.fixture
def reload(netns: int) -> Iterator[Callable[..., None]]:  # noqa: F811
    """reload(linger_us=5): reload the modules with parameters of nlbus.ko; undone after the test."""

    def with_parameters(**parameters: object) -> None:
        helpers.unload_all()
        helpers.load_all(**parameters)

    yield with_parameters
    helpers.unload_all()
    helpers.load_all()


@pytest.fixture
def tap(netns: int) -> Iterator[Callable[..., Tap]]:  # noqa: F811
    """Tap(...), closed after the test, so that modules can be unloaded."""
    opened: list[Tap] = []

    def make(*groups: int, **keywords: Any) -> Tap:
        opened.append(Tap(*groups, **keywords))
        return opened[-1]

    yield make
    for one in opened:
        one.close()
