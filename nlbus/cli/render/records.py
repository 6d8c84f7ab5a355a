"""Events and gaps as records, and records as lines of text or JSON."""

import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import click

from nlbus import Batch, Groups, Loss
from nlbus._text import as_utf8, escape, escape_value
from nlbus.cli.render.times import iso
from nlbus.sources import Source, group_names
from nlbus.sources.proc import process_event
from nlbus.sources.uevent import parse_uevent

HEX_CAP = 48  # bytes of a payload in a line of text
TEXTUAL = ("bus", "audit")  # sources whose payloads may be text

Record = dict[str, Any]
Rows = Mapping[int, tuple[str, dict[str, Any]]]

NO_ROWS: Rows = {}

_encode: Callable[[object], str] = json.JSONEncoder(default=bytes.hex).encode


# -- records --------------------------------------------------------------------------------------


def events(
    source: Source, batch: Batch, limit: int | None = None, rows: Rows = NO_ROWS, rest: bool = True
) -> Iterator[Record]:
    """One record per event, in the order of arrival, at most `limit`.

    rows: table and row of each decoded message, by message number. The other messages become records with
    "payload": bytes, or are left out if `rest` is False.
    """
    of = _bus_events if source.framing == "bus" else _messages
    return islice(of(source, batch, rows, rest), limit)


def _bus_events(source: Source, batch: Batch, rows: Rows, rest: bool) -> Iterator[Record]:
    events = batch.events
    times = [*map(iso, events["time_ns"].tolist())]
    groups_of: dict[int, list[int]] = {}
    for i, (seq, time_ns, mask, kind, portid, uid) in enumerate(events.tolist()):
        decoded = rows.get(i)
        if decoded is None and not rest:
            continue
        groups = groups_of.get(mask) or groups_of.setdefault(mask, list(Groups.from_mask(mask)))
        record: Record = {
            "time": times[i],
            "time_ns": time_ns,
            "source": source.name,
            "groups": groups,
            "group_names": group_names(source, groups),
        }
        if decoded:
            # The row may have its own time; the batch has only that of its first event.
            table, row = decoded
            if "time_ns" in row:
                record |= {"time": iso(row["time_ns"]), "time_ns": row["time_ns"]}
            yield record | {"nl_table": table, "row": row}
            continue
        payload = batch.payload(i)
        yield record | {
            "type": kind,
            "seq": seq,
            "portid": portid,
            "uid": uid,
            "length": len(payload),
            "payload": payload,
        }


def _messages(source: Source, batch: Batch, rows: Rows, rest: bool) -> Iterator[Record]:
    time = iso(batch.time_ns)
    headed = source.framing == "nlmsg"
    for i, (_, length, kind, flags, seq, portid, group, nsid) in enumerate(batch.messages.tolist()):
        decoded = rows.get(i)
        if decoded is None and not rest:
            continue
        payload = b"" if decoded and source.membership else batch.payload(i)
        groups = [group] if group else _unicast_groups(source, payload)
        record: Record = {
            "time": time,
            "time_ns": batch.time_ns,
            "source": source.name,
            "groups": groups,
            "group_names": group_names(source, groups),
        }
        if decoded:
            yield record | {"nl_table": decoded[0], "row": decoded[1]}
            continue
        if nsid >= 0:
            record["nsid"] = nsid
        record["type"] = kind if headed else None
        if headed:
            record |= {"type_name": source.type_name(kind), "flags": flags, "seq": seq}
        record |= {"portid": portid, "length": length, "payload": payload}
        yield record | _details(source, payload)


def _unicast_groups(source: Source, payload: bytes) -> list[int]:
    """The group that the message itself names, for sources whose groups are not multicast groups."""
    if source.membership or len(payload) < 4:
        return []
    return [int.from_bytes(payload[2:4]) or source.groups["0"]]


def _details(source: Source, payload: bytes) -> Record:
    """What the start of the payload shows."""
    if source.name == "uevent" and (env := parse_uevent(payload)):
        return {"action": env["ACTION"], "devpath": env["DEVPATH"], "env": env}
    if source.name == "proc" and (found := process_event(payload)):
        return {"event": found[0], "fields": found[1]}
    if source.name.startswith("genl:") and payload:
        return {"cmd": payload[0]}
    return {}


def gaps(loss: Loss) -> Iterator[Record]:
    """One record per loss that a batch reports."""
    for cause, stream, count, exact, earliest, latest in loss.rows.tolist():
        yield {
            "type": "gap",
            "cause": cause,
            "count": count,
            "unit": "datagrams" if cause == "overrun" else "events",
            "exact": exact,
            "earliest_ns": earliest,
            "latest_ns": latest,
            # As text: JSON readers that use doubles would round it.
            "stream": f"{stream:#018x}" if stream else None,
        }


def open_gap(count: int) -> Record:
    """The record of datagrams that the kernel dropped and that no gap explains yet."""
    return {
        "type": "gap", "cause": "open", "count": count, "unit": "datagrams", "exact": False,
        "earliest_ns": None, "latest_ns": None, "stream": None,
    }  # fmt: skip


# -- lines ----------------------------------------------------------------------------------------


def as_json(record: Record) -> str:
    """The record as one JSON object, with bytes in hex.

    A payload is "text" if it is printable UTF-8, else "hex". The columns of a decoded message are keys beside
    the others.
    """
    if "row" in record:
        record = dict(record)
        record |= record.pop("row")
    elif "payload" in record:
        record = dict(record)
        payload = record.pop("payload")
        if "env" not in record:
            text = printable(payload) if record["source"] in TEXTUAL else None
            record |= {"hex": payload.hex()} if text is None else {"text": text}
    return json_text(record)


def json_text(value: object) -> str:
    """The value as JSON, with bytes in hex. Text is UTF-8: strict readers refuse lone surrogates."""
    text = _encode(value)
    return _encode(_in_utf8(value)) if "\\" in text else text


def _in_utf8(value: object) -> object:
    if isinstance(value, str):
        return as_utf8(value)
    if isinstance(value, list):
        return [*map(_in_utf8, value)]
    if isinstance(value, dict):
        return {_in_utf8(key): _in_utf8(each) for key, each in value.items()}
    return value


def as_text(record: Record) -> str:
    """The record as one line for people."""
    if record["type"] == "gap":
        of = f"{record['source']}: " if "source" in record else ""
        return click.style(f"--- gap: {of}{gap_text(record)} ---", fg="red", bold=True)
    groups = escape(",".join(record["group_names"])) or "-"
    parts = [click.style(record["time"], dim=True), record["source"], click.style(groups, fg="cyan")]
    if "nsid" in record:
        parts.append(f"[nsid {record['nsid']}]")
    return " ".join([*parts, _type_text(record), str(record["length"]), _payload_text(record)])


def gap_text(record: Record) -> str:
    """A gap in words: how much was lost, and when."""
    count, unit = record["count"], record["unit"]
    if count == 1:
        unit = unit.removesuffix("s")
    if record["cause"] == "open":
        return f"{count} {unit} dropped that no gap explains yet"
    if record["cause"] == "unbuilt":
        text = "the kernel could not build an event or more"
    else:
        text = (
            f"{count} {unit} lost" if record["exact"] else f"{count} {unit} dropped, each an event or more,"
        )
    text += f" between {iso(record['earliest_ns'])} and {iso(record['latest_ns'])}"
    return text + (f", stream {record['stream']}" if record["stream"] else "")


def _type_text(record: Record) -> str:
    if "event" in record:
        return str(record["event"])
    if "cmd" in record:
        return f"cmd={record['cmd']}"
    kind = record["type"]
    return "-" if kind is None else record.get("type_name") or f"{kind:#x}"


def _payload_text(record: Record) -> str:
    if "env" in record:
        variables = (
            f"{escape_value(key)}={shlex.quote(escape_value(value))}"
            for key, value in record["env"].items()
            if key not in ("ACTION", "DEVPATH")
        )
        return " ".join([f"{escape_value(record['action'])}@{escape_value(record['devpath'])}", *variables])
    if "fields" in record:
        return " ".join(f"{name}={escape_value(str(value))}" for name, value in record["fields"].items())
    payload: bytes = record["payload"]
    text = printable(payload) if record["source"] in TEXTUAL else None
    if text is not None:
        return escape_value(text)
    rest = len(payload) - HEX_CAP
    return payload[:HEX_CAP].hex() + (f"… {rest} more" if rest > 0 else "")


def printable(data: bytes) -> str | None:
    """These bytes as text; None if they are not UTF-8 or hold control characters."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return text if all(c.isprintable() or c in "\t\n\r" for c in text) else None
