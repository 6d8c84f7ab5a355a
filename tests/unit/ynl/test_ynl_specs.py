"""YNL specs become sources: every kind of attribute, operations, limits, and the faults of specs."""

import logging
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import nlbus
from nlbus import MissingExtra, SchemaError, UnknownSource, field, ynl
from nlbus.schema.schema import Dump, Schema
from nlbus.sources.genl import NO_FAMILY
from tests.support.reference import attribute, message, pad

pytest.importorskip("yaml")
pytest.importorskip("jsonschema")

DATA = Path(__file__).parents[2] / "data" / "ynl"


@pytest.fixture(scope="module")
def garden() -> ynl.Spec:
    return ynl.load(DATA / "garden.yaml")


@pytest.fixture(scope="module")
def shop() -> ynl.Spec:
    return ynl.load(DATA / "shop.yaml")


def u32(value: int) -> bytes:
    return struct.pack("=I", value)


def plants(garden: ynl.Spec, *attributes: bytes, type: int = 20) -> list[dict[str, Any]]:
    header = struct.pack("=BBH", 5, 0, struct.unpack("=H", struct.pack(">H", 6))[0])
    batch = nlbus.Batch.from_datagrams(garden, [message(type, header + b"".join(attributes))])
    table = batch.table("plant")
    assert table.malformed == 0
    return [
        {name: value for name, value in row.items() if not name.startswith("nl_")}
        for row in table.iter_rows(absent=False)
    ]


def plant(garden: ynl.Spec, *attributes: bytes) -> dict[str, Any]:
    (row,) = plants(garden, *attributes)
    assert (row.pop("bed"), row.pop("row")) == (5, 6)
    return row


PLACE = b"bed one\0" + bytes(range(1, 7)) + b"\xca\xfe" + bytes([10, 0, 0, 1])
PLACED = {"label": "bed one", "mac": "01:02:03:04:05:06", "raw": "cafe", "ip": "10.0.0.1"}


@pytest.mark.parametrize(
    ("number", "payload", "expected"),
    [
        (1, u32(9), {"id": 9}),
        (2, b"tom\0", {"name": "tom"}),
        (3, b"\7", {"kind": "oak"}),
        (3, b"\x08", {"kind": "elm"}),
        (4, u32(5), {"needs": ["sun", "water"]}),
        (5, struct.pack("=H", 2 | 128), {"likes": ["rose", "oak"]}),
        (6, b"", {"watered": True}),
        (7, struct.pack("=Q", 1 << 40), {"height": 1 << 40}),
        (8, struct.pack("=i", -3), {"depth": -3}),
        (8, struct.pack("=q", -(1 << 40)), {"depth": -(1 << 40)}),
        (9, b"\1\2", {"port": 0x102}),
        (10, bytes([10, 0, 0, 2]), {"address": "10.0.0.2"}),
        (10, bytes(15) + b"\1", {"address": "::1"}),
        (11, bytes(range(6)), {"lladdr": "00:01:02:03:04:05"}),
        (
            12,
            struct.pack("=IB3x", 4, 2) + PLACE,
            {"size_height": 4, "size_needs": ["shade"], **{f"size_from_{k}": v for k, v in PLACED.items()}},
        ),
        (12, u32(4), {"size_height": 4}),  # of a kernel with a shorter struct
        (13, b"\2\0rest", {"bag_count": 2}),
        (14, struct.pack("=3H", 1, 2, 3), {"counts": [1, 2, 3]}),
        (17, u32(1) + u32(4), {"mask_value": ["sun"], "mask_selector": ["water"]}),
        (18, attribute(1, u32(3)) + attribute(2, u32(1)), {"leaf_color": 3, "leaf_age": 1}),
        (
            20,
            attribute(4, attribute(1, u32(3))) + attribute(9, attribute(5, attribute(2, u32(8)))),
            {"branches_index": [4, 9], "branches_color": [3, None], "branches_small_age": [None, 8]},
        ),
        (21, attribute(0, b"\x0a\0\0\1") + attribute(1, b"\x0a\0\0\2"), {"names": ["10.0.0.1", "10.0.0.2"]}),
        (
            22,
            attribute(2026, attribute(12, attribute(1, u32(7)))),
            {"policy_year": 2026, "policy_month": 12, "policy_color": 7},
        ),
        (25, b"\1\2", {"parent": "0102"}),
        (26, b"\1\2", {"fruit": "0102"}),
        (27, bytes(4), {}),
    ],
)
def test_a_value_of_each_kind(
    garden: ynl.Spec, number: int, payload: bytes, expected: dict[str, Any]
) -> None:
    assert plant(garden, attribute(number, payload)) == expected


def test_attributes_that_come_several_times_are_lists(garden: ynl.Spec) -> None:
    leaves = [attribute(1, u32(1)), attribute(2, u32(2)) + attribute(1, u32(3)), b""]
    found = plant(
        garden,
        attribute(15, u32(1)),
        attribute(15, u32(7)),
        attribute(16, b"\1\0"),
        attribute(16, b"\2\0"),
        *(attribute(19, leaf) for leaf in leaves),
    )
    assert found == {
        "tags": ["rose", "oak"],
        "bags_count": [1, 2],
        "leaves_color": [1, 3, None],
        "leaves_age": [None, 2, None],
    }


def test_a_list_in_a_list_is_bytes_or_left_out(garden: ynl.Spec) -> None:
    buds = attribute(4, b"\1\2\3\4")
    assert plant(garden, attribute(19, attribute(3, b"\1") + buds)) == {
        "leaves_buds": ["01020304"],
        "leaves_color": [None],
    }


@pytest.mark.parametrize("first", [True, False])
def test_sub_messages_go_by_text_number_and_what_is_around(garden: ynl.Spec, first: bool) -> None:
    name, kind = attribute(2, b"oak\0"), attribute(3, b"\7")
    chosen = [
        attribute(23, pad(PLACE) + attribute(1, u32(5))),
        attribute(24, attribute(2, u32(6))),
        attribute(28, attribute(1, pad(PLACE))),
    ]
    found = plant(garden, *((name, kind) if first else ()), *chosen)
    if not first:
        assert found == {}
        return
    assert found == {
        "name": "oak",
        "kind": "oak",
        **{f"extra_oak_{name}": value for name, value in PLACED.items()},
        "extra_oak_color": 5,
        "more_oak_age": 6,
        **{f"within_outer_oak_{name}": value for name, value in PLACED.items()},
    }


def test_a_sub_message_may_be_a_struct_alone_or_unknown(garden: ynl.Spec) -> None:
    assert plant(garden, attribute(2, b"elm\0"), attribute(23, b"\4\0\0\5")) == {
        "name": "elm",
        "extra_elm_bed": 4,
        "extra_elm_row": 5,
    }
    assert plant(garden, attribute(2, b"ash\0"), attribute(23, b"\4\0\0\5")) == {"name": "ash"}


def test_what_happened_and_the_groups(garden: ynl.Spec) -> None:
    assert garden.tables == ("plant", "storm")
    assert dict(garden.groups) == {"plants": 3, "weather": 9}
    assert (garden.name, garden.protocol, list(garden.default)) == ("ynl:garden", 17, [3, 9])
    ops = {
        type: nlbus.Batch.from_datagrams(garden, [message(type, bytes(4))]).table("plant")["nl_op"].tolist()
        for type in (20, 21, 30)
    }
    assert ops == {20: [0], 21: [2], 30: []}
    assert len(nlbus.Batch.from_datagrams(garden, [message(30, bytes(4))]).table("storm")) == 1
    dump = dumps(garden)["plant"]
    assert (dump.type, dump.headers) == (22, (bytes(4),))
    assert garden.operations["delplant-ntf"] == garden.operations["getplant"] == "plant"


def dumps(spec: ynl.Spec) -> dict[str, Dump]:
    found = {}
    for schema in spec.schemas:
        assert isinstance(schema, Schema)
        if isinstance(schema.dump, Dump):
            found[schema.name] = schema.dump
    return found


def test_limits_name_what_is_not_read(garden: ynl.Spec, caplog: pytest.LogCaptureFixture) -> None:
    assert set(map(str, garden.limits)) == {
        "attribute-sets/plant/attributes/within: the property 'taste' is unknown, and ignored",
        "bag.seeds: the value of seeds-a-bag is in linux/garden.h, not in the spec",
        "bag.seeds: no size is given: this member and those behind it are left out",
        "plant.parent: plant within plant: its bytes are one column",
        "plant.fruit: the type 'cider' is unknown: its bytes are one column",
        "plant.more: 'fig' is no value of kind: it is not read",
        "leaf.veins: several of them in an item of a list: none is read",
        "leaf.buds: a list in a list: its bytes are one column",
        "getsun: answers one request (do) and lists nothing: it is no table",
    }
    with caplog.at_level(logging.INFO, "nlbus"):
        ynl.load(DATA / "garden.yaml")
    assert "ynl:garden: " in caplog.text
    assert f"{len(garden.limits) - 1} more (see .limits)" in caplog.text


def test_generic_netlink_goes_by_commands(shop: ynl.Spec) -> None:
    assert shop.tables == ("good", "fire")
    assert nlbus.schema(shop, "good").key == ("id",)
    goods = [
        message(NO_FAMILY, bytes([command, 1, 0, 0]) + attribute(1, u32(command)), flags=2 * (command == 1))
        for command in range(1, 6)
    ]
    batch = nlbus.Batch.from_datagrams(shop, goods)
    rows = batch.table("good").iter_rows()
    assert [(row["id"], row["nl_op"]) for row in rows] == [(1, "new"), (2, "new"), (3, "del"), (4, "change")]
    assert batch.table("fire")["room"].tolist() == [5]
    dump = dumps(shop)["good"]
    assert dump.headers == (b"\1\1\0\0",)
    assert [(each.column, each.number, each.size) for each in dump.filters] == [("shelf", 3, 4)]


def test_a_state_has_the_key_of_the_spec_or_ones_own(shop: ynl.Spec) -> None:
    spec = ynl.load(DATA / "shop.yaml", keys={"good": ["shelf"]})
    assert nlbus.schema(spec, "good").key == ("shelf",)
    with pytest.raises(SchemaError, match="key 'colour' of table good is none of its columns"):
        ynl.load(DATA / "shop.yaml", keys={"good": ["colour"]})
    with pytest.raises(SchemaError, match=r"keys= of 'goods', which is no table \(did you mean 'good'\?\)"):
        ynl.load(DATA / "shop.yaml", keys={"goods": ["id"]})
    with pytest.raises(SchemaError, match="without a key"):
        nlbus.State(shop, "fire")


def test_a_loaded_spec_goes_by_its_name(garden: ynl.Spec) -> None:
    assert nlbus.schema("ynl:garden", "plant").columns == nlbus.schema(garden, "plant").columns
    with pytest.raises(UnknownSource, match="did you mean 'ynl:garden'"):
        nlbus.schema("ynl:gardn", "plant")


def test_conditions_read_columns_of_specs(garden: ynl.Spec) -> None:
    query = nlbus.Batch.from_datagrams(
        garden, [message(20, bytes(4) + attribute(3, bytes([kind]))) for kind in (1, 7)]
    )
    assert len(query.table("plant").filter(field("kind") == "oak")) == 1


# -- where specs are ---------------------------------------------------------------------------------------


def test_names_are_looked_up_in_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert ynl.load("garden", folders=[DATA]).path == str(DATA / "garden.yaml")
    monkeypatch.setenv(ynl.VARIABLE, f"{tmp_path}:{DATA}")
    assert ynl.load("shop").name == "ynl:shop-for-tests"
    assert {"garden", "shop"} <= ynl.available().keys()
    with pytest.raises(
        UnknownSource, match=r"no spec 'gardn' \(did you mean 'garden'\?\): there are .*garden"
    ):
        ynl.load("gardn")
    monkeypatch.setattr("nlbus.ynl.source.FOLDERS", ())
    monkeypatch.delenv(ynl.VARIABLE)
    with pytest.raises(UnknownSource, match=r"no spec 'shop': there are no specs in .*set NLBUS_YNL_PATH"):
        ynl.load("shop")
    with pytest.raises(FileNotFoundError):
        ynl.load(tmp_path / "none.yaml")


@pytest.mark.parametrize("module", ["yaml", "jsonschema"])
def test_without_the_extra_the_error_says_how_to_get_it(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        MissingExtra, match=rf"reading YNL specs needs {module}: pip install pyyaml jsonschema"
    ):
        ynl.load(DATA / "garden.yaml")


# -- specs that are not valid ----------------------------------------------------------------------


def faults() -> Iterator[tuple[str, str, str]]:
    """A text of garden.yaml, what replaces it, and the error."""
    yield "name: garden\n", "", "at the whole: 'name' is missing"
    yield "protonum: 17", "protonum: many", "at protonum: integer was expected, not .many."
    yield "netlink-raw", "netlink", "at protocol.*: one of genetlink, .* was expected, not 'netlink'"
    yield (
        "{name: id, type: u32}",
        "{name: id, value: -1, type: u32}",
        "at attribute-sets/0/attributes/1/value.*minimum",
    )
    yield (
        "{name: id, type: u32}",
        "{type: u32}",
        r"attribute-sets/0/attributes/1 \(plant\): 'name' is missing",
    )
    yield "{name: id, type: u32}", "{name: id}", "attribute plant.id has no type"
    yield "struct: place", "struct: palace", r"there is no struct 'palace' \(did you mean 'place'"
    yield (
        "nested-attributes: leaf}",
        "nested-attributes: lef}",
        r"there is no attribute set 'lef' \(did you mean",
    )
    yield "subset-of: leaf", "subset-of: leave", "set small is a subset of 'leave', which is none"
    yield "[{name: age}]", "[{name: aeg}]", r"there is no attribute of leaf 'aeg' \(did you mean 'age'"
    yield "enum: kind}", "enum: kin}", r"there is no enum or flags 'kin' \(did you mean 'kind'"
    yield "sub-message: extra-msg", "sub-message: extra", "there is no sub-message 'extra'"
    yield "notify: getplant}", "notify: getplants}", r"there is no operation 'getplants' \(did you mean"
    yield "name: garden", "name: [", "is no YAML: "
    yield "name: garden", "!!python/name:os.system x: garden", "is no YAML: "


@pytest.mark.parametrize(("old", "new", "error"), list(faults()))
def test_the_error_about_a_spec_says_where_and_what(old: str, new: str, error: str, tmp_path: Path) -> None:
    text = (DATA / "garden.yaml").read_text()
    assert old in text
    path = tmp_path / "bad.yaml"
    path.write_text(text.replace(old, new))
    with pytest.raises(SchemaError, match=error) as caught:
        ynl.load(path)
    assert str(caught.value).startswith(str(path))
