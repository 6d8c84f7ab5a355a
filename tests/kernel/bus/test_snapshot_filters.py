"""Conditions that the kernel checks during a dump: if it refuses one, no row matches."""

from collections.abc import Callable
from functools import partial

import pytest
from click.testing import CliRunner

from nlbus import KernelError, PermissionDenied, SchemaError, Subscriber, field, snapshot
from nlbus.bus import snapshot as dumping
from nlbus.cli.main import commands
from nlbus.table.expressions import Expression
from tests.support.sockets import NOBODY, Child, ip

Subscribe = Callable[..., Subscriber]


@pytest.mark.parametrize(
    ("table", "where"),
    [
        ("route", field("oif") == -1),
        ("route", field("table") == 5_000_000_000),
        ("route", field("family") == 300),
        ("route", field("protocol") == -5),
        ("link", field("master") == 2**40),
    ],
)
def test_a_number_out_of_the_columns_range_matches_no_row(table: str, where: Expression) -> None:
    ip("link set lo up")
    assert len(snapshot("route", table)) > 0
    assert len(snapshot("route", table, where=where)) == 0


@pytest.mark.parametrize(
    ("table", "where"),
    [
        ("route", (field("table") == "main") & (field("family") == "inet")),  # the table does not exist yet
        ("route", field("oif") == 999),
        ("addr", field("ifindex") == 999),
        ("nexthop", field("oif") == 3_000_000_000),
        ("rule", field("family") == 200),
    ],
)
def test_a_value_that_the_kernel_does_not_know_matches_no_row(table: str, where: Expression) -> None:
    assert len(snapshot("route", table, where=where)) == 0


def test_a_subscriber_to_missing_objects_begins_empty_and_sees_them_appear(subscribe: Subscribe) -> None:
    sub = subscribe("route", tables=["addr"], where=field("ifindex") == 999, snapshot=True)
    batch = sub.recv(1)
    assert (batch.origin, batch.complete, len(batch.table("addr"))) == ("snapshot", True, 0)
    ip("link add v0 index 999 type veth peer name v1", "addr add 10.0.0.1/24 dev v0")
    assert [row["address"] for row in sub.recv(1).table("addr").iter_rows()] == ["10.0.0.1"]


@pytest.mark.parametrize(
    "condition", ["oif == -1", "table == 5000000000", "table == main and family == inet"]
)
def test_the_command_line_prints_no_rows(condition: str) -> None:
    done = CliRunner().invoke(commands, ["snapshot", "route", "route", "--where", condition])
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "nlbus: 0 rows\n"


def test_a_refusal_without_conditions_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def body(*_: object) -> bytes:
        requests.append(1)
        return b"\xff" * 12  # flags in struct rtmsg that the kernel refuses in a dump

    requests: list[int] = []
    monkeypatch.setattr(dumping, "_body", body)
    with pytest.raises(KernelError, match="dumping route route: Invalid argument"):
        snapshot("route", "route")
    assert len(requests) == 1
    with pytest.raises(KernelError, match="dumping route route: Invalid argument"):
        snapshot("route", "route", where=field("table") == "main")
    assert len(requests) == 3


def test_an_ordinary_users_error_names_the_privilege_for_a_dump(child: Callable[..., Child]) -> None:
    def work() -> str:
        with pytest.raises(PermissionDenied) as caught:
            snapshot("conntrack", "conntrack")
        return str(caught.value.strerror)

    error = child(work, uid=NOBODY).result()
    assert error.startswith("dumping conntrack conntrack: Operation not permitted; needs CAP_NET_ADMIN over")


@pytest.mark.parametrize("call", [partial(snapshot, "route", "link"), partial(Subscriber, "route")])
@pytest.mark.parametrize("wrong", ["mtu > 1", field("mtu"), True])
def test_an_argument_that_is_no_condition_is_refused(call: Callable[..., object], wrong: object) -> None:
    with pytest.raises(SchemaError, match="where=: an expression of columns, as in field"):
        call(where=wrong)
