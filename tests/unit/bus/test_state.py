"""State: rows by key, from batches without a kernel."""

import pytest

from nlbus import Batch, SchemaError, State


def uevents(*texts: str, origin: int = 0, complete: bool = False) -> Batch:
    batch = Batch.from_datagrams("uevent", [text.replace(" ", "\0").encode() + b"\0" for text in texts])
    batch.origin_code, batch.complete = origin, complete
    return batch


def uevent(action: str, devpath: str, more: str = "") -> str:
    return f"{action}@{devpath} ACTION={action} DEVPATH={devpath} SUBSYSTEM=x{more}"


def test_rows_are_added_changed_and_removed() -> None:
    state = State("uevent")
    state.apply(uevents(uevent("add", "/a"), uevent("add", "/b"), uevent("change", "/a", " DRIVER=d")))
    assert sorted(state["uevent"]) == ["/a", "/b"]
    assert state["uevent"]["/a"]["driver"] == "d"
    state.apply(uevents(uevent("remove", "/b"), uevent("move", "/c", " DEVPATH_OLD=/a")))
    assert sorted(state["uevent"]) == ["/c"]
    assert not state.complete


def test_a_snapshot_applies_once_complete_and_removes_missing_rows() -> None:
    state = State("uevent")
    seen = state["uevent"]
    state.apply(uevents(uevent("add", "/gone")))
    state.apply(uevents(uevent("add", "/a"), origin=2))
    assert sorted(seen) == ["/gone"]
    state.apply(uevents(uevent("add", "/b"), origin=2, complete=True))
    assert sorted(seen) == ["/a", "/b"]
    assert state.complete
    state.apply(uevents(origin=2, complete=True))
    assert not seen


def test_a_state_is_a_read_only_mapping() -> None:
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
