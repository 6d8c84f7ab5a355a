"""The schemas of sockets, compared with the kernel's headers."""

import re
from pathlib import Path

import pytest

from nlbus.schema.schema import walk
from nlbus.sources.sock_diag import SOCK_DIAG
from nlbus.sources.sock_diag.inet import HEADER, TCP_INFO

INCLUDE = Path("/usr/include/linux")
HEADERS = {
    "tcp": "inet_diag.h",
    "mptcp": "inet_diag.h",
    "unix": "unix_diag.h",
    "netlink": "netlink_diag.h",
    "packet": "packet_diag.h",
    "xdp": "xdp_diag.h",
}


def header(name: str) -> str:
    path = INCLUDE / name
    if not path.exists():
        pytest.skip(f"no kernel headers: linux/{name}")
    text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
    return re.sub(r"^#.*$", "", text, flags=re.MULTILINE)


def members(text: str, struct: str, prefix: str) -> list[str]:
    """The names of a struct's members, in order, bit fields of a byte as one."""
    [body] = re.findall(rf"struct {struct} {{(.*?)\n}};", text, re.DOTALL)
    found = []
    for names in re.findall(r"__\w+\s+([^;]+);", body):
        found.append(re.split(r"[\s:,\[]", names.strip())[0].removeprefix(prefix))
    return found


@pytest.mark.parametrize(("table", "file"), HEADERS.items())
def test_attributes_have_the_kernels_numbers(table: str, file: str) -> None:
    theirs = {
        name: number
        for body in re.findall(r"enum {(.*?)}", header(file), re.DOTALL)
        for number, name in enumerate(re.findall(r"\w+", body))
    }
    [schema] = [schema for schema in SOCK_DIAG.schemas if schema.name == table]
    named = {entry.kernel: entry.number for entry in walk(schema.entries)}
    assert named == {name: theirs[name] for name in named}


def test_the_header_of_inet_sockets_has_the_kernels_members() -> None:
    text = header("inet_diag.h")
    ours = [field.name for field in HEADER if field.name]
    inner = [name.removeprefix("idiag_") for name in members(text, "inet_diag_sockid", "idiag_")]
    outer = members(text, "inet_diag_msg", "idiag_")
    theirs = [*outer[:4], *inner, *outer[4:]]
    assert ours == [{"if": "ifindex"}.get(name, name) for name in theirs]
    assert sum(field.type.size for field in HEADER) == 72


def test_tcp_info_begins_as_in_the_header() -> None:
    theirs = members(header("tcp.h"), "tcp_info", "tcpi_")
    ours = [field.name for field in TCP_INFO]
    renamed = {"snd_wscale": "wscale", "delivery_rate_app_limited": "limits"}
    assert ours[: len(theirs)] == [renamed.get(name, name) for name in theirs]
