"""audit: records that the kernel logs, with auditing enabled or disabled."""

import socket
import struct
import uuid
from collections.abc import Callable

import pytest

from nlbus import PermissionDenied, Subscriber
from nlbus.kernel.constants import MessageFlag
from nlbus.kernel.requests import message
from nlbus.sources import find
from nlbus.sources.probe import probe
from tests.support.sockets import NOBODY, Child, drain, heard, payloads

Subscribe = Callable[..., Subscriber]
AUDIT, AUDIT_USER_AVC = 9, 1107


def record(text: str) -> None:
    """Log a record. The kernel accepts user-space access decisions even with auditing disabled."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, AUDIT) as kernel:
        kernel.settimeout(5)
        flags = MessageFlag.REQUEST | MessageFlag.ACK
        kernel.send(message(AUDIT_USER_AVC, text.encode() + b"\0", flags, 1))
        (error,) = struct.unpack_from("=i", kernel.recv(4096), 16)
        if error:
            pytest.skip(f"this user may not write audit records: errno {-error}")


@pytest.fixture
def _audit_available(first_netns: None) -> None:
    tried = probe(find("audit"))
    if tried is None or not tried.available:
        pytest.skip("this kernel has no audit" if tried is None else tried.reason)


@pytest.mark.usefixtures("_audit_available")
def test_a_record_is_text_with_its_type(subscribe: Subscribe) -> None:
    sub = subscribe("audit")
    mark = f"op=nlbus-{uuid.uuid4()}"
    record(mark)
    got = drain(sub, 0.05, atleast=1)
    assert (1, AUDIT_USER_AVC) in heard(got)
    [mine] = [text for text in payloads(got) if mark.encode() in text]
    assert mine.startswith(b"audit(")
    assert {int(p) for b in got for p in b.messages["portid"]} == {0}


@pytest.mark.usefixtures("_audit_available")
def test_the_last_record_is_whole(subscribe: Subscribe) -> None:
    """Multicast nlmsg_len includes the header, unlike audit's unicast."""
    sub = subscribe("audit")
    for length in (1, 2, 3, 4, 900):
        record("x" * length)
    ends = [text for text in payloads(drain(sub, 0.05, atleast=5)) if b"msg='x" in text]
    assert [text.count(b"x") - text.count(b"exe") for text in ends] == [1, 2, 3, 4, 900]
    assert all(text.endswith(b"x'") for text in ends)
    assert sub.stats()["malformed"] == 0


def test_another_network_namespace_receives_nothing(subscribe: Subscribe, netns: int) -> None:
    try:
        sub = subscribe("audit")
    except PermissionDenied as error:
        pytest.skip(str(error))
    home = subscribe("audit", netns=netns)
    mark = f"op=nlbus-{uuid.uuid4()}"
    record(mark)
    assert any(mark.encode() in text for text in payloads(drain(home, 0.05, atleast=1)))
    assert drain(sub, 0.05) == []


def test_an_ordinary_users_error_names_the_privilege(child: Callable[..., Child]) -> None:
    def work() -> str:
        with pytest.raises(PermissionDenied) as caught:
            Subscriber("audit")
        return str(caught.value.strerror)

    error = child(work, uid=NOBODY).result()
    assert error.startswith("joining audit (readlog): ")
    assert "CAP_AUDIT_READ in the first user namespace" in error
