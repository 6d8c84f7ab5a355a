"""uevent: devices of this namespace, in the kernel's own framing."""

from collections.abc import Callable

from nlbus import Subscriber
from tests.support.sockets import UEVENT, Sender, drain, ip, payloads

Subscribe = Callable[..., Subscriber]


def fields(data: bytes) -> dict[str, str]:
    head, *pairs = data.rstrip(b"\0").decode().split("\0")
    return {"": head} | dict(pair.split("=", 1) for pair in pairs)


def test_a_new_device_comes_with_its_path_and_properties(subscribe: Subscribe) -> None:
    sub = subscribe("uevent")
    ip("link add va type veth peer name vb")
    batches = drain(sub, 0.1)
    events = [fields(p) for p in payloads(batches)]
    added = {e["INTERFACE"]: e for e in events if e["ACTION"] == "add" and e["SUBSYSTEM"] == "net"}
    assert set(added) == {"va", "vb"}
    assert added["va"][""] == "add@/devices/virtual/net/va"
    assert added["va"]["DEVPATH"] == "/devices/virtual/net/va"
    numbers = [int(e["SEQNUM"]) for e in events]
    assert numbers == sorted(set(numbers))
    ip("link del va")
    gone = [fields(p) for p in payloads(drain(sub, 0.1))]
    assert {e["INTERFACE"] for e in gone if e["ACTION"] == "remove" and "INTERFACE" in e} == {"va", "vb"}


def test_each_datagram_is_one_message_to_group_1_from_the_kernel(subscribe: Subscribe) -> None:
    sub = subscribe("uevent", groups=("kernel", "udev"))
    ip("link add va type veth peer name vb")
    for batch in drain(sub, 0.1):
        rows = batch.messages
        assert set(rows["group"].tolist()) == {1}
        assert set(rows["portid"].tolist()) == {0}
        assert set(rows["type"].tolist()) == {0}
        for i, row in enumerate(rows):
            assert len(batch.payload(i)) == row["length"]
            assert batch.payload(i).endswith(b"\0")
    stats = sub.stats()
    assert stats["malformed"] == stats["untrusted"] == 0
    assert stats["delivered"] == stats["datagrams"] > 0


def test_bytes_that_look_like_messages_are_not_walked(subscribe: Subscribe) -> None:
    sub = subscribe("uevent", groups="udev")
    wanted = [bytes(40), b"\xff" * 64, b"\x10\0\0\0" * 4, b"x"]
    with Sender(UEVENT) as sender:
        for data in wanted:
            sender.send(data, 2)
    assert payloads(drain(sub)) == wanted


def test_devices_of_other_namespaces_are_not_received(subscribe: Subscribe) -> None:
    sub = subscribe("uevent")
    assert len(sub.recv(0.02)) == 0
