"""The grammar of YNL specs, as a JSON schema in Python: what must be there, and of which type.

It is looser than the kernel's own (Documentation/netlink/*.yaml): what it does not know may be of a newer
kernel, and is reported as a limit instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nlbus.errors import SchemaError, extra

INSTALL = "pyyaml jsonschema"  # with pip
PROTOCOLS = ("genetlink", "genetlink-c", "genetlink-legacy", "netlink-raw")

Grammar = dict[str, Any]
NAME: Grammar = {"type": "string", "minLength": 1}
NUMBER: Grammar = {"type": "integer", "minimum": 0}
EITHER: Grammar = {"type": ["integer", "string"]}  # a number, or the name of a constant
ANY: Grammar = {}
FLAG: Grammar = {"type": "boolean"}
ORDER: Grammar = {"enum": ["little-endian", "big-endian"]}


def _object(required: str = "", **properties: Grammar) -> Grammar:
    named = {name.replace("_", "-"): grammar for name, grammar in properties.items()}
    return {"type": "object", "required": required.split(), "properties": named}


def _list(of: Grammar) -> Grammar:
    return {"type": "array", "items": of}


MEMBER = _object(
    "name type",
    name=NAME, type=NAME, doc=ANY, len=EITHER, byte_order=ORDER, enum=NAME, enum_as_flags=FLAG,
    display_hint=NAME, struct=NAME,
)  # fmt: skip
DEFINITION = _object(
    "name type",
    name=NAME, type=NAME, doc=ANY, value=EITHER, value_start=EITHER, members=_list(MEMBER),
    entries=_list({"oneOf": [NAME, _object("name", name=NAME, value={"type": "integer"}, doc=ANY)]}),
    header=NAME, scope=ANY, render_max=ANY, enum_name=ANY, enum_cnt_name=ANY, name_prefix=ANY,
)  # fmt: skip
ATTRIBUTE = _object(
    "name",
    name=NAME, type=NAME, value=NUMBER, doc=ANY, multi_attr=FLAG, nested_attributes=NAME, enum=NAME,
    enum_as_flags=FLAG, byte_order=ORDER, checks=_object(), sub_type=NAME, display_hint=NAME, struct=NAME,
    type_value=_list(NAME) | {"type": ["array", "string"]}, sub_message=NAME, selector=NAME, name_prefix=ANY,
)  # fmt: skip
ATTRIBUTE_SET = _object(
    "name attributes",
    name=NAME, attributes=_list(ATTRIBUTE), subset_of=NAME, name_prefix={"type": "string"}, doc=ANY,
    enum_name=ANY, header=ANY, attr_cnt_name=ANY, attr_max_name=ANY,
)  # fmt: skip
FORMAT = _object("value", value=EITHER, fixed_header=NAME, attribute_set=NAME)
SUB_MESSAGE = _object("name formats", name=NAME, formats=_list(FORMAT))
MESSAGE = {"type": ["object", "null"]} | {
    k: v for k, v in _object(attributes=_list(NAME), value=NUMBER).items() if k != "type"
}
MODE = _object(request=MESSAGE, reply=MESSAGE, pre=ANY, post=ANY)
OPERATION = _object(
    "name",
    name=NAME, doc=ANY, value=NUMBER, attribute_set=NAME, fixed_header=NAME, do=MODE, dump=MODE, notify=NAME,
    event=MESSAGE, mcgrp=NAME, flags=ANY, dont_validate=ANY, config_cond=ANY,
)  # fmt: skip
GROUP = _object("name", name=NAME, value=NUMBER, c_define_name=ANY, flags=ANY, doc=ANY)
OPERATIONS = _object(
    "list",
    list=_list(OPERATION), enum_model={"enum": ["unified", "directional"]}, fixed_header=NAME,
    name_prefix=ANY, enum_name=ANY, async_prefix=ANY, async_enum=ANY,
)  # fmt: skip
SPEC = _object(
    "name attribute-sets operations",
    name=NAME, doc=ANY, protocol={"enum": list(PROTOCOLS)}, protonum=NUMBER, version=ANY,
    definitions=_list(DEFINITION), attribute_sets=_list(ATTRIBUTE_SET), sub_messages=_list(SUB_MESSAGE),
    operations=OPERATIONS, mcast_groups=_object("list", list=_list(GROUP)), kernel_family=ANY,
    uapi_header=ANY, c_family_name=ANY, c_version_name=ANY, max_by_define=ANY, cmd_max_name=ANY,
    cmd_cnt_name=ANY, kernel_policy=ANY,
)  # fmt: skip


def check(spec: object, path: str) -> None:
    """SchemaError with the place of the fault, as operations/list/2/name, and what was expected there."""
    validator = extra("jsonschema", "reading YNL specs", INSTALL).Draft202012Validator(SPEC)
    # The deepest fault says most: that of an item, not that of its list.
    faults = sorted(
        validator.iter_errors(spec), key=lambda fault: (-len(fault.absolute_path), str(fault.path))
    )
    if faults:
        fault = faults[0]
        place = "/".join(map(str, fault.absolute_path)) or "the whole"
        named = _named(spec, fault.absolute_path)
        raise SchemaError(f"{path} is no valid spec, at {place}{named}: {_expected(fault)}")


def unknown_words(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The properties that this grammar does not know: place and name."""
    yield from _unknown(spec, SPEC, "")


def _unknown(value: Any, grammar: Grammar, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, list):
        for i, each in enumerate(value):
            name = each.get("name", i) if isinstance(each, dict) else i
            yield from _unknown(each, grammar.get("items", ANY), f"{place}/{name}")
    elif isinstance(value, dict) and grammar.get("properties"):
        for key, inner in value.items():
            if key in grammar["properties"]:
                yield from _unknown(inner, grammar["properties"][key], f"{place}/{key}".strip("/"))
            else:
                yield place or "the whole", str(key)


def _named(spec: Any, path: Any) -> str:
    """The name of the innermost thing with a name around a place."""
    found = ""
    for key in path:
        spec = spec[key]
        if isinstance(spec, dict) and isinstance(spec.get("name"), str):
            found = f" ({spec['name']})"
    return found


def _expected(fault: Any) -> str:
    got = repr(fault.instance)
    got = got if len(got) <= 60 else f"{got[:57]}..."
    if fault.validator == "required":
        return str(fault.message).replace("is a required property", "is missing")
    if fault.validator == "enum":
        return f"one of {', '.join(map(str, fault.validator_value))} was expected, not {got}"
    if fault.validator == "type":
        kinds = fault.validator_value
        kinds = [kinds] if isinstance(kinds, str) else kinds
        return f"{' or '.join(kinds)} was expected, not {got}"
    return str(fault.message)[:200]
