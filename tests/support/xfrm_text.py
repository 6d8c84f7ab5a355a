"""What `ip xfrm` prints, as facts; and the same facts of our rows."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

Facts = dict[str, Any]
ALGORITHMS = {"aead": "aead", "auth-trunc": "auth", "auth": "auth", "enc": "crypt", "comp": "comp"}


def _blocks(text: str) -> list[list[str]]:
    """Objects: a line each, and the indented ones behind it."""
    found: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith("\t") and found:
            found[-1].append(line.strip())
        elif line.strip():
            found.append([line.strip()])
    return found


def _option(line: str, name: str) -> str | None:
    match = re.search(rf"\b{name} (\S+)", line)
    return match[1] if match else None


def states(text: str) -> list[Facts]:
    """The states that `ip xfrm state` lists, or the events of `ip xfrm monitor` about some."""
    found = []
    for first, *lines in _blocks(text):
        ends = re.fullmatch(r"(Deleted |Updated |Expired )?src (\S+) dst (\S+)", first)
        [kind] = [line for line in lines if line.startswith("proto ")] or [""]
        if ends is None or not kind:
            continue
        facts: Facts = {"event": (ends[1] or "").strip(), "src": ends[2], "dst": ends[3]}
        facts |= {name: _option(kind, name) for name in ("proto", "mode")}
        facts |= {name: int(_option(kind, name) or "0", 0) for name in ("spi", "reqid")}
        for line in lines:
            word, _, rest = line.partition(" ")
            if word in ALGORITHMS:
                name, key, *size = re.fullmatch(r"(\S+) (0x\w*|)\s?.*?(\d+)?", rest).groups()  # type: ignore[union-attr]
                facts[ALGORITHMS[word]] = (name, max(len(key) - 2, 0) * 4)
                facts[f"{ALGORITHMS[word]}_size"] = next((int(each) for each in size if each), None)
            elif word == "mark":
                facts["mark"] = tuple(int(each, 0) for each in rest.split("/"))
            elif word == "if_id":
                facts["if_id"] = int(rest.split()[0], 0)
            elif word == "encap":
                facts["encap"] = (_option(rest, "type"), _option(rest, "sport"), _option(rest, "dport"))
            elif word == "sel":
                facts["sel"] = (_option(rest, "src"), _option(rest, "dst"))
        found.append(facts)
    return found


def of_states(rows: Iterable[Mapping[str, Any]]) -> list[Facts]:
    """The same facts of rows of the table state, absent columns left out."""
    found = []
    for row in rows:
        facts: Facts = {
            "event": {"new": "", "change": "Updated", "del": "Deleted"}[row["nl_op"]],
            "src": row["saddr"],
            "dst": row["daddr"],
            "proto": row["proto"],
            "mode": row["mode"],
            "spi": row.get("spi", 0),
            "reqid": row["reqid"],
        }
        for name, size in (("aead", "icv_len"), ("auth", "trunc_len"), ("crypt", ""), ("comp", "")):
            if f"alg_{name}_name" in row:
                facts[name] = (row[f"alg_{name}_name"], row[f"alg_{name}_key_len"])
                facts[f"{name}_size"] = row.get(f"alg_{name}_{size}")
        if "mark_v" in row:
            facts["mark"] = (row["mark_v"], row["mark_m"])
        if "if_id" in row:
            facts["if_id"] = row["if_id"]
        if "encap_type" in row:
            facts["encap"] = (row["encap_type"], str(row["encap_sport"]), str(row["encap_dport"]))
        family = {"sel_saddr": row["saddr"], "sel_daddr": row["daddr"]} | row
        facts["sel"] = tuple(
            f"{family[f'sel_{end}addr']}/{row[f'sel_prefixlen_{end}']}" for end in ("s", "d")
        )
        if "sel_family" not in row or any(row["sel_prefixlen_" + end] for end in "sd"):
            found.append(facts)
        else:
            found.append(facts | {"sel": (f"{family['sel_saddr']}/0", f"{family['sel_daddr']}/0")})
    return found


def policies(text: str) -> list[Facts]:
    """The policies that `ip xfrm policy` lists, or the events of `ip xfrm monitor` about some."""
    found = []
    for first, *lines in _blocks(text):
        kind = next((line for line in lines if re.match(r"(dir|socket) ", line)), None)
        ends = re.match(r"(Deleted |Updated |Expired )?src (\S+) dst (\S+)(.*)", first)
        if kind is None or ends is None:
            continue
        facts: Facts = {"event": (ends[1] or "").strip(), "src": ends[2], "dst": ends[3]}
        facts |= {name: _option(ends[4], name) for name in ("proto", "sport", "dport", "dev")}
        facts |= {name: _option(kind, name) for name in ("dir", "ptype")}
        facts["action"] = _option(kind, "action") or "allow"
        facts["priority"] = int(_option(kind, "priority") or 0)
        facts["templates"] = []
        for i, line in enumerate(lines):
            if line.startswith("tmpl "):
                inner = lines[i + 1]
                facts["templates"].append(
                    (
                        *(_option(line, name) for name in ("src", "dst")),
                        *(_option(inner, name) for name in ("proto", "mode")),
                        int(_option(inner, "reqid") or 0),
                        "level use" in lines[i + 2 : i + 3],
                    )
                )
            elif line.startswith("mark "):
                facts["mark"] = tuple(int(each, 0) for each in line.split()[1].split("/"))
            elif line.startswith("if_id "):
                facts["if_id"] = int(line.split()[1], 0)
        found.append(facts)
    return found


def of_policies(rows: Iterable[Mapping[str, Any]]) -> list[Facts]:
    """The same facts of rows of the tables policy and policy_expire, absent columns left out."""
    found = []
    for row in rows:
        event = {"new": "", "change": "Updated", "del": "Deleted"}[row["nl_op"]]
        facts: Facts = {
            "event": "Expired" if "hard" in row else event,
            "src": f"{row['sel_saddr']}/{row['sel_prefixlen_s']}",
            "dst": f"{row['sel_daddr']}/{row['sel_prefixlen_d']}",
            "proto": row.get("sel_proto"),
            "sport": str(row["sel_sport"]) if row["sel_sport_mask"] else None,
            "dport": str(row["sel_dport"]) if row["sel_dport_mask"] else None,
            "dev": row.get("sel_ifindex"),
            "dir": row["dir"],
            "ptype": row.get("type"),
            "action": row["action"],
            "priority": row["priority"],
            "templates": list(
                zip(
                    row.get("tmpl_saddr", ()), row.get("tmpl_daddr", ()), row.get("tmpl_proto", ()),
                    row.get("tmpl_mode", ()), row.get("tmpl_reqid", ()),
                    map(bool, row.get("tmpl_optional", ())), strict=True,
                )
            ),
        }  # fmt: skip
        if "mark_v" in row:
            facts["mark"] = (row["mark_v"], row["mark_m"])
        if "if_id" in row:
            facts["if_id"] = row["if_id"]
        found.append(facts)
    return found
