"""xfrm: policies as they come, change, expire and go."""

from collections.abc import Callable

import pytest

from nlbus import PermissionDenied, Subscriber
from nlbus.sources import find
from tests.kernel.helpers import NOBODY, Child, drain, heard, ip

Subscribe = Callable[..., Subscriber]
EXPIRE, SA, POLICY = 2, 3, 4
SELECTOR = "src 10.0.0.1 dst 10.0.0.2 dir out"


@pytest.fixture(autouse=True)
def _built() -> None:
    tried = find("xfrm")
    try:
        Subscriber("xfrm").close()
    except OSError as error:
        pytest.skip(f"this kernel has no xfrm ({tried.option}): {error}")


def names(pairs: list[tuple[int, int]]) -> list[tuple[int, str]]:
    return [(group, str(find("xfrm").type_name(kind)).removeprefix("XFRM_MSG_")) for group, kind in pairs]


def test_a_policy_comes_changes_and_goes(subscribe: Subscribe) -> None:
    sub = subscribe("xfrm")
    for change, name in [
        (f"add {SELECTOR} priority 7", "NEWPOLICY"),
        (f"update {SELECTOR} priority 8", "UPDPOLICY"),
        (f"del {SELECTOR}", "DELPOLICY"),
    ]:
        ip(f"xfrm policy {change}")
        assert names(heard(drain(sub, 0.02, atleast=1))) == [(POLICY, name)]
    assert sub.stats()["malformed"] == sub.stats()["untrusted"] == 0


def test_a_policy_expires(subscribe: Subscribe) -> None:
    sub = subscribe("xfrm", groups="expire")
    ip(f"xfrm policy add {SELECTOR} limit time-hard 1")
    assert names(heard(drain(sub, 0.02, atleast=1))) == [(EXPIRE, "POLEXPIRE")]


def test_states_are_flushed(subscribe: Subscribe) -> None:
    sub = subscribe("xfrm")
    ip("xfrm state allocspi src 10.0.0.1 dst 10.0.0.2 proto esp", "xfrm state flush")
    assert (SA, "FLUSHSA") in names(heard(drain(sub, 0.02, atleast=1)))


def test_by_default_we_pass_for_no_key_manager(subscribe: Subscribe) -> None:
    assert "acquire" in find("xfrm").groups
    assert find("xfrm").groups["acquire"] not in subscribe("xfrm").groups


def test_an_ordinary_user_is_told_the_privilege(child: Callable[..., Child]) -> None:
    def work() -> str:
        with pytest.raises(PermissionDenied) as caught:
            Subscriber("xfrm")
        return str(caught.value.strerror)

    assert "CAP_NET_ADMIN" in child(work, uid=NOBODY).result()
