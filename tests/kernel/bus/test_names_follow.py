"""Names of interfaces in conditions follow the kernel: renames, reuse of an index, other namespaces."""

import subprocess
from collections.abc import Callable
from typing import Protocol

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nlbus import Subscriber, field, snapshot
from nlbus.kernel.interfaces import LiveInterfaces


class Subscribe(Protocol):
    def __call__(self, *args: object, **kwargs: object) -> Subscriber: ...


def ip(*words: str, at: str = "") -> None:
    enter = ("nsenter", f"--net={at}") if at else ()
    subprocess.run([*enter, "ip", *words], check=True, capture_output=True)


def added(sub: Subscriber, name: str, network: str, at: str = "") -> int:
    """How many routes the subscriber gets when one through this interface is added."""
    ip("route", "add", network, "dev", name, at=at)
    found = 0
    for batch in sub.batches(timeout=0.2):
        found += sum(f"{row['dst']}/{row['dst_len']}" == network for row in batch.table("route").iter_rows())
    return found


def test_a_subscriber_follows_renames_and_reuse_of_an_index(subscribe: Subscribe) -> None:
    ip("link", "add", "va", "index", "77", "type", "bridge")
    ip("link", "set", "va", "up")
    sub = subscribe("route", tables=["route"], where=field("dev") == "va")
    assert added(sub, "va", "10.1.0.0/24") == 1
    ip("link", "set", "va", "down")
    ip("link", "set", "va", "name", "vb", "up")
    assert added(sub, "vb", "10.2.0.0/24") == 0
    ip("link", "del", "vb")
    ip("link", "add", "va", "index", "77", "type", "bridge")
    ip("link", "set", "va", "up")
    assert added(sub, "va", "10.3.0.0/24") == 1
    ip("link", "add", "vc", "type", "bridge")
    ip("link", "set", "vc", "up")
    assert added(sub, "vc", "10.4.0.0/24") == 0


def test_a_name_may_come_later_and_goes_with_the_last_route(subscribe: Subscribe) -> None:
    sub = subscribe("route", tables=["addr"], where=field("dev") == "later")
    ip("link", "add", "later", "type", "bridge")
    ip("addr", "add", "10.1.0.1/24", "dev", "later")
    ip("link", "del", "later")
    ops = [row["nl_op"] for batch in sub.batches(timeout=0.3) for row in batch.table("addr").iter_rows()]
    assert ops == ["new", "del"]


def test_names_are_those_of_the_namespace(subscribe: Subscribe, others: Callable[[], str]) -> None:
    path = others()
    ip("link", "add", "va", "index", "77", "type", "bridge")
    ip("link", "add", "vb", "index", "77", "type", "bridge", at=path)
    ip("link", "set", "vb", "up", at=path)
    sub = subscribe("route", tables=["route"], where=field("dev") == "vb", netns=path)
    assert added(sub, "vb", "10.1.0.0/24", at=path) == 1
    assert len(snapshot("route", "route", where=field("dev") == "vb", netns=path))
    assert len(snapshot("route", "link", where=field("ifindex").matches("v?"))) == 1
    table = snapshot("route", "link", netns=path)
    assert table.filter(field("ifindex") == "vb")["ifindex"].tolist() == [77]
    assert not len(table.filter(field("ifindex") == "va"))


def test_names_of_other_namespaces_go_by_nsid(subscribe: Subscribe, others: Callable[[], str]) -> None:
    path = others()
    ip("link", "add", "va", "index", "77", "type", "bridge")
    ip("link", "add", "vb", "index", "77", "type", "bridge", at=path)
    ip("link", "set", "vb", "up", at=path)
    ip("link", "set", "va", "up")
    ip("link", "add", "pa", "type", "veth", "peer", "name", "pb", "netns", path.split("/")[2])
    sub = subscribe("route", tables=["route"], where=field("dev") == "vb", all_nsid=True)
    assert added(sub, "va", "10.1.0.0/24") == 0
    assert added(sub, "vb", "10.1.0.0/24", at=path) == 1


steps = st.lists(
    st.tuples(st.sampled_from(["add", "del", "rename"]), st.integers(50, 53), st.sampled_from("abcd")),
    max_size=12,
)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_names_are_those_that_the_kernel_lists(story: list[tuple[str, int, str]]) -> None:
    subprocess.run(
        "ip -o link | grep -o 'v[a-d]' | sort -u | xargs -rn1 ip link del", shell=True, check=False
    )
    names = LiveInterfaces()
    ip("link", "add", "va", "index", "49", "type", "bridge")
    names.update()
    assert names.known(49) == "va"
    batch = "".join(
        f"link add v{name} index {index} type bridge\n" if step == "add"
        else f"link del v{name}\n" if step == "del"
        else f"link set v{name} name v{'abcd'[index - 50]}\n"
        for step, index, name in story
    )  # fmt: skip
    subprocess.run(["ip", "-force", "-batch", "-"], input=batch.encode(), capture_output=True, check=False)
    names.update()
    for row in snapshot("route", "link").iter_rows():
        assert names.known(row["ifindex"]) == row["ifname"]
    names.close()


def test_after_an_overrun_names_are_looked_up_again() -> None:
    names = LiveInterfaces()
    names.update()
    assert names._socket is not None
    names._socket.setsockopt(1, 8, 1)  # SO_RCVBUF, as small as can be
    batch = "".join(f"link add w{i} index {1000 + i} type bridge\n" for i in range(40))
    subprocess.run(["ip", "-batch", "-"], input=batch.encode(), check=True)
    names.update()
    assert [names.known(1000 + i) for i in range(40)] == [f"w{i}" for i in range(40)]
    names.close()
