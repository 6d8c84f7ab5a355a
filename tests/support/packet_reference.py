"""The fields of a packet's headers, in plain Python: the oracle for nlbus._core.columns.headers."""

import struct
from typing import Any

TCP, UDP, UDPLITE, SCTP, DCCP = 6, 17, 136, 132, 33
WITH_PORTS = (TCP, UDP, UDPLITE, SCTP, DCCP)
EXTENSIONS = {0: 8, 43: 8, 60: 8, 51: 4, 44: 0}  # number: the unit of its length
MOST = 16


def dissected(ethertype: int, data: bytes) -> dict[str, Any]:
    """The fields that are there, by column: numbers, and addresses of 16 bytes."""
    tags = 0
    while ethertype in (0x8100, 0x88A8) and tags < 2 and len(data) >= 4:
        (ethertype,) = struct.unpack_from(">H", data, 2)
        data, tags = data[4:], tags + 1
    read = {0x0800: ipv4, 0x86DD: ipv6, 0x0806: arp}.get(ethertype)
    found = {} if read is None else read(data)
    if "data_offset" in found:
        found["data_offset"] += 4 * tags
    return found


class Part:
    """A header, of which the end may be missing."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.found: dict[str, Any] = {}

    def take(self, name: str, at: int, form: str) -> int | None:
        size = struct.calcsize(form)
        if len(self.data) < at + size:
            return None
        (value,) = struct.unpack_from(form, self.data, at)
        self.found[name] = value
        return int(value)

    def address(self, name: str, at: int, size: int) -> None:
        value = self.data[at : at + size]
        if len(value) == size:
            self.found[name] = value if size == 16 else bytes(10) + b"\xff\xff" + value


def ipv4(data: bytes) -> dict[str, Any]:
    if not data or data[0] >> 4 != 4:
        return {}
    own = (data[0] & 15) * 4
    if own < 20:
        return {"ip_version": 4}
    part = Part(data)
    part.found["ip_version"] = 4
    part.take("tos", 1, ">B")
    total = part.take("length", 2, ">H")
    if total == 0:
        del part.found["length"]
    if total:
        part.data = data[: max(total, own)]
    part.take("ip_id", 4, ">H")
    fragment = 0
    if len(part.data) >= 8:
        (fragment,) = struct.unpack_from(">H", part.data, 6)
        part.found["ip_flags"] = fragment >> 13
        if fragment & 0x2000 or fragment & 0x1FFF:
            part.found["frag_offset"] = (fragment & 0x1FFF) * 8
    part.take("ttl", 8, ">B")
    protocol = part.take("protocol", 9, ">B")
    part.address("src", 12, 4)
    part.address("dst", 16, 4)
    if protocol is not None and not fragment & 0x1FFF:
        part.found |= transport(protocol, part.data[own:], own, 4)
    return part.found


def ipv6(data: bytes) -> dict[str, Any]:
    if not data or data[0] >> 4 != 6:
        return {}
    part = Part(data)
    part.found["ip_version"] = 6
    if len(data) >= 2:
        part.found["tos"] = (data[0] & 15) << 4 | data[1] >> 4
    if len(data) >= 4:
        part.found["flow_label"] = int.from_bytes(data[1:4], "big") & 0xFFFFF
    if len(data) >= 6:
        (rest,) = struct.unpack_from(">H", data, 4)
        if rest:
            part.found["length"] = 40 + rest
            part.data = data[: 40 + rest]
    part.take("ttl", 7, ">B")
    part.address("src", 8, 16)
    part.address("dst", 24, 16)
    if len(data) < 7:
        return part.found
    protocol, at = data[6], 40
    later = False
    for _ in range(MOST):
        if protocol not in EXTENSIONS or later:
            break
        head = part.data[at : at + 8]
        if protocol == 44:
            if len(head) < 8:
                return part.found
            _, _, fragment, part.found["ip_id"] = struct.unpack(">BBHI", head)
            part.found["ip_flags"] = fragment & 1
            part.found["frag_offset"] = fragment & 0xFFF8
            later = fragment & 0xFFF8 != 0
            protocol, at = head[0], at + 8
        else:
            if len(head) < 2:
                return part.found
            unit = EXTENSIONS[protocol]
            protocol, at = head[0], at + (head[1] + (2 if unit == 4 else 1)) * unit
    if protocol in EXTENSIONS:
        return part.found
    part.found["protocol"] = protocol
    if not later:
        part.found |= transport(protocol, part.data[at:], at, 6)
    return part.found


def transport(protocol: int, data: bytes, start: int, version: int) -> dict[str, Any]:
    part = Part(data)
    if protocol in WITH_PORTS:
        part.take("sport", 0, ">H")
        part.take("dport", 2, ">H")
    if protocol == TCP:
        part.take("tcp_seq", 4, ">I")
        part.take("tcp_ack", 8, ">I")
        bits = part.take("tcp_flags", 12, ">H")
        if bits is not None:
            part.found["tcp_flags"] = bits & 0x1FF
            part.take("tcp_window", 14, ">H")
            size = (bits >> 12) * 4
            if 20 <= size <= len(data):
                part.found["data_offset"] = start + size
    elif protocol in (UDP, UDPLITE):
        if len(data) >= 8:
            part.found["data_offset"] = start + 8
    elif protocol == {4: 1, 6: 58}[version]:
        kind = part.take("icmp_type", 0, ">B")
        part.take("icmp_code", 1, ">B")
        if kind in {4: (0, 8), 6: (128, 129)}[version]:
            part.take("icmp_id", 4, ">H")
            part.take("icmp_seq", 6, ">H")
    return part.found


def arp(data: bytes) -> dict[str, Any]:
    if len(data) < 8:
        return {}
    part = Part(data)
    part.take("arp_op", 6, ">H")
    hardware = data[4]
    if data[2:4] == b"\x08\0" and data[5] == 4:
        part.address("src", 8 + hardware, 4)
        part.address("dst", 12 + 2 * hardware, 4)
    return part.found
