"""The schemas of conntrack and proc, compared with the kernel's headers."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from nlbus.schema.schema import Attr, Entry, Nest, Schema, Struct, TextSchema, walk
from nlbus.sources import conntrack, find
from nlbus.table.decoded import decoder

INCLUDE = Path("/usr/include/linux")
NEWER = {"CTA_TIMESTAMP_EVENT"}  # missing in the headers of some distributions


def header(name: str) -> str:
    path = INCLUDE / name
    if not path.exists():
        pytest.skip(f"no kernel headers: linux/{name}")
    return re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)


def enumerators(text: str) -> dict[str, int]:
    """All enumerators by name; a value may refer to another enumerator."""
    found: dict[str, int] = {}
    for body in re.findall(r"enum \w+ {(.*?)}", text, re.DOTALL):
        number = -1
        lines = re.sub(r"^\s*#.*$", "", body, flags=re.MULTILINE)
        for name, value in re.findall(r"(\w+)\s*(?:=\s*([^,]+?))?\s*(?:,|$)", lines.strip()):
            number = number + 1 if not value else found.get(value) or int(eval(value, {}, dict(found)))
            found[name] = number
    return found


def schema(source: str, name: str) -> Schema:
    [found] = [schema for schema in find(source).schemas if schema.name == name]
    assert not isinstance(found, TextSchema)
    return found


def entries(of: Sequence[Entry], prefix: str) -> Iterator[tuple[Entry, str]]:
    """Each entry with the prefix that its kernel name should have."""
    for entry in of:
        yield entry, prefix
        if isinstance(entry, Nest):
            yield from entries(entry.entries, entry.prefix)


@pytest.mark.parametrize("table", ["conntrack", "expect"])
def test_attributes_have_the_kernels_numbers(table: str) -> None:
    theirs = enumerators(header("netfilter/nfnetlink_conntrack.h"))
    ours = schema("conntrack", table)
    for entry, _ in entries(ours.entries, ours.prefix):
        if entry.kernel in theirs or entry.kernel not in NEWER:
            assert (entry.kernel, entry.number) == (entry.kernel, theirs[entry.kernel])


@pytest.mark.parametrize(
    ("source", "file", "prefix"), [("nflog", "log", "NFULA"), ("nfqueue", "queue", "NFQA")]
)
def test_attributes_of_packets_have_the_kernels_numbers(source: str, file: str, prefix: str) -> None:
    theirs = enumerators(header("netfilter/nfnetlink_conntrack.h"))
    theirs |= enumerators(header(f"netfilter/nfnetlink_{file}.h"))
    ours = schema(source, "packet")
    found = dict(entries(ours.entries, ours.prefix))
    # Attributes that these headers do not have are newer.
    assert {entry.kernel: entry.number for entry in found if entry.kernel in theirs} == {
        entry.kernel: theirs[entry.kernel] for entry in found if entry.kernel in theirs
    }
    known = {name for name in theirs if re.fullmatch(rf"{prefix}_(?!VLAN_|_|CFG_|UNSPEC|MAX)\w+", name)}
    assert known - {entry.kernel for entry in ours.entries} <= {"NFQA_VERDICT_HDR"}


@pytest.mark.parametrize("table", [each.name for each in find("nftables").schemas])
def test_attributes_of_rulesets_have_the_kernels_numbers(table: str) -> None:
    theirs = enumerators(re.sub(r"\b(0x\w+?)U\b", r"\1", header("netfilter/nf_tables.h")))
    newer = {"NFTA_SET_TYPE", "NFTA_SET_COUNT", "NFTA_BITWISE_SREG2"}
    ours = {entry.kernel: entry.number for entry in walk(schema("nftables", table).entries)}
    known = {name: number for name, number in ours.items() if name in theirs or name not in newer}
    recent = {name for name in known if name.startswith("NFTA_TRACE_CT_")} - set(theirs)
    assert known.keys() - recent == (known.keys() - recent) & theirs.keys()
    assert {name: known[name] for name in known.keys() - recent} == {
        name: theirs[name] for name in known.keys() - recent
    }


@pytest.mark.parametrize("table", [each.name for each in find("xfrm").schemas])
def test_attributes_of_ipsec_have_the_kernels_numbers(table: str) -> None:
    theirs = enumerators(re.sub(r"enum (?={)", "enum any ", header("xfrm.h")))
    ours = schema("xfrm", table)
    known = {entry.kernel: entry.number for entry in ours.entries if entry.number <= 31}  # since Linux 4.19
    assert known == {name: theirs[name] for name in known}
    messages = {name: theirs[name] for name in theirs if name.startswith("XFRM_MSG_")}
    names = {number: name for name, number in messages.items() if not name.endswith(("BASE", "MAX"))}
    assert {number: find("xfrm").types[number] for number in names} == names


@pytest.mark.parametrize("table", ["conntrack", "expect"])
def test_no_two_attributes_of_a_nest_have_one_number(table: str) -> None:
    def check(of: Sequence[Entry]) -> None:
        numbers = [entry.number for entry in of]
        assert len(numbers) == len(set(numbers))
        for entry in of:
            if isinstance(entry, Nest):
                check(entry.entries)

    check(schema("conntrack", table).entries)


def test_attributes_without_an_own_column_name_have_their_nests_prefix() -> None:
    for table in ("conntrack", "expect"):
        ours = schema("conntrack", table)
        for entry, prefix in entries(ours.entries, ours.prefix):
            if isinstance(entry, Attr | Struct | Nest) and not entry.column:
                assert entry.kernel.startswith(prefix)


@pytest.mark.parametrize(
    ("names", "file", "form"),
    [
        (conntrack.TCP_STATE, "nf_conntrack_tcp.h", "TCP_CONNTRACK_{}"),
        (conntrack.SCTP_STATE, "nf_conntrack_sctp.h", "SCTP_CONNTRACK_{}"),
        (conntrack.STATUS, "nf_conntrack_common.h", "IPS_{}"),
    ],
)
def test_values_have_the_kernels_names(names: dict[int, str], file: str, form: str) -> None:
    theirs = enumerators(header(f"netfilter/{file}"))
    theirs["TCP_CONNTRACK_SYN_SENT2"] = 9  # a macro
    assert {form.format(name): number for number, name in names.items()} == {
        form.format(name): theirs[form.format(name)] for name in names.values()
    }


@pytest.mark.parametrize(
    ("names", "file", "form"),
    [
        (conntrack.TCP_FLAGS, "nf_conntrack_tcp.h", "IP_CT_(?:TCP_(?:FLAG_)?)?{}"),
        (conntrack.EXPECT_FLAGS, "nf_conntrack_common.h", "NF_CT_EXPECT_{}"),
    ],
)
def test_flags_have_the_kernels_masks(names: dict[int, str], file: str, form: str) -> None:
    text = header(f"netfilter/{file}")
    for mask, name in names.items():
        [found] = re.findall(rf"#define\s+{form.format(name)}\s+(0x\w+)", text)
        assert int(found, 16) == mask


def test_protocols_have_the_kernels_names() -> None:
    theirs = {}
    for file in ("in.h", "in6.h"):
        for name, number in re.findall(r"\bIPPROTO_(\w+)\s*=\s*(\d+)", header(file)):
            theirs[name.lower()] = int(number)
        theirs |= {n.lower(): int(v) for n, v in re.findall(r"define IPPROTO_(\w+)\s+(\d+)", header(file))}
    ours = {name: number for number, name in conntrack.IPPROTO.items()}
    newer = {"aggfrag"}
    assert {name: number for name, number in ours.items() if name not in newer - set(theirs)} == {
        name: theirs[name] for name in ours if name not in newer - set(theirs)
    }


def test_connections_have_their_columns() -> None:
    columns = {column.name: column for column in decoder(schema("conntrack", "conntrack"), None).columns}
    assert columns["orig_src"].display == "address"
    assert (columns["orig_bytes"].dtype.str, columns["orig_bytes"].unit) == ("<u8", "bytes")
    assert columns["timeout"].unit == "s"
    assert columns["timestamp_start"].display == "time"
    for table in ("conntrack", "expect"):
        names = {column.name for column in decoder(schema("conntrack", table), None).columns}
        assert set(schema("conntrack", table).key) <= names
        assert not [name for name in names if name.startswith(("cta_", "tuple_", "protoinfo_"))]


# proc

STRUCTS = {"uid": "id", "gid": "id"}
MEMBERS = {
    "uid": {"r": "ruid", "e": "euid"},
    "gid": {"r": "rgid", "e": "egid"},
}


def test_process_events_have_the_kernels_members() -> None:
    text = header("cn_proc.h")
    whats = {
        name.lower(): int(value, 16) for name, value in re.findall(r"PROC_EVENT_(\w+)\s*=\s*(0x\w+)", text)
    }
    for name, table in ((one.name, one) for one in find("proc").schemas):
        assert not isinstance(table, TextSchema)
        assert table.selector == (20, 4, whats[name])
        struct = STRUCTS.get(name, name)
        [body] = re.findall(rf"struct {struct}_proc_event {{(.*?)}} {struct};", text, re.DOTALL)
        body = re.sub(r"union {.*?} (\w);", lambda m: f"u {m[1]};", body, flags=re.DOTALL)
        members = [
            member.strip().removesuffix("[16]")
            for line in re.findall(r"\w+\s+([^;]+);", body)
            for member in line.split(",")
        ]
        theirs = [MEMBERS.get(name, {}).get(member, member) for member in members]
        ours = [field.name for field in table.header if field.name]
        assert ours[:3] == ["seq", "cpu", "timestamp_ns"]
        assert ours[3:] == theirs
        assert sum(field.type.size for field in table.header[:9]) == 20 + 16


def test_every_kind_of_process_event_has_a_table() -> None:
    kinds = {name.lower() for name in re.findall(r"PROC_EVENT_(\w+)\s*=", header("cn_proc.h"))}
    assert set(find("proc").tables) == kinds - {"none", "nonzero_exit"}
