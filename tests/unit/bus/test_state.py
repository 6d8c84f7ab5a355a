"""State: rows by key, from batches that need no kernel."""

import pytest

from nlbus import Batch, SchemaError, State


def uevents(*texts: str, origin: int = 0, complete: bool = False) -> Batch:
    batch = Batch.from_datagrams("uevent", [text.replace(" ", "\0").encode() + b"\0" for text in texts])
    batch.origin_code, batch.complete = origin, complete
    return batch


def told(action: str, devpath: str, more: str = "") -> str:
    return f"{action}@{devpath} ACTION={action} DEVPATH={devpath} SUBSYSTEM=x{more}"


def test_what_comes_changes_and_goes() -> None:
    state = State("uevent")
    state.apply(uevents(told("add", "/a"), told("add", "/b"), told("change", "/a", " DRIVER=d")))
    assert sorted(state["uevent"]) == ["/a", "/b"]
    assert state["uevent"]["/a"]["driver"] == "d"
    state.apply(uevents(told("remove", "/b"), told("move", "/c", " DEVPATH_OLD=/a")))
    assert sorted(state["uevent"]) == ["/c"]
    assert not state.complete


def test_a_snapshot_counts_when_it_is_complete_and_removes_what_it_lacks() -> None:
    state = State("uevent")
    seen = state["uevent"]
    state.apply(uevents(told("add", "/gone")))
    state.apply(uevents(told("add", "/a"), origin=2))
    assert sorted(seen) == ["/gone"]
    state.apply(uevents(told("add", "/b"), origin=2, complete=True))
    assert sorted(seen) == ["/a", "/b"]
    assert state.complete
    state.apply(uevents(origin=2, complete=True))
    assert not seen


def test_it_is_a_mapping_that_nobody_else_changes() -> None:
    state = State("route", "link", "addr")
    assert list(state) == ["link", "addr"]
    assert len(state) == 2
    assert repr(state) == "<State of route: 0 link, 0 addr>"
    with pytest.raises(TypeError):
        state["link"][1] = {}  # type: ignore[index]


def test_tables_without_a_key_have_no_state() -> None:
    with pytest.raises(SchemaError, match="no state of proc exec"):
        State("proc", "exec")
    with pytest.raises(SchemaError, match="did you mean 'link'"):
        State("route", "lnk")
