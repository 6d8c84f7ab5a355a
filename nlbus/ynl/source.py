"""Finds a spec, reads it and makes it a source."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nlbus.errors import SchemaError, UnknownSource
from nlbus.kernel.groups import Groups
from nlbus.schema.columns import columns_of
from nlbus.schema.schema import Schema
from nlbus.sources import SOURCES, did_you_mean, register
from nlbus.sources.genl import NETLINK_GENERIC, NO_FAMILY, built_in
from nlbus.sources.raw import PROTOCOLS, REPORT_ERRORS, Protocol
from nlbus.sources.source import NEEDS_ADMIN, Source
from nlbus.ynl.alike import Translation, adopted
from nlbus.ynl.document import Document, Limit, log, read
from nlbus.ynl.tables import Plan, plans, schema_of

PREFIX = "ynl:"
VARIABLE = "NLBUS_YNL_PATH"  # folders of specs, as in PATH, before those of distributions
FOLDERS = (
    "/usr/share/ynl/specs",
    "/usr/local/share/ynl/specs",
    "/usr/src/linux/Documentation/netlink/specs",
    "/lib/modules/{release}/build/Documentation/netlink/specs",
    "/lib/modules/{release}/source/Documentation/netlink/specs",
)
SUFFIX = ".yaml"
# What nlbus's own source of a protocol knows about it.
KEPT = (
    "groups", "kernel_name", "sentinel", "types", "probe", "privileged", "needs", "option", "module", "ask",
    "barrier",
)  # fmt: skip
MOST_COLUMNS = 20_000  # of a table: larger ones would need more memory than they are worth


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec(Source):
    """A source made of a YNL spec. `limits`: what the spec says and nlbus does not do, or does in part.

    `operations`: the table with the rows of an operation, as link of getlink and of newlink-ntf.
    """

    path: str = ""
    limits: tuple[Limit, ...] = ()
    operations: Mapping[str, str] = field(default_factory=dict, hash=False)


def load(
    spec: str | os.PathLike[str],
    *,
    keys: Mapping[str, Iterable[str]] | None = None,
    folders: Iterable[str | os.PathLike[str]] = (),
) -> Spec:
    """Read a YNL spec of the kernel (Documentation/netlink/specs) and make it a source.

    spec: the path of a YAML file, or the name of a spec, such as rt-link. Names are looked up in `folders`,
    then in those that the variable NLBUS_YNL_PATH names, separated by colons, then where distributions put
    them (FOLDERS). keys: the columns that tell the rows of a table apart, instead of those that the spec
    suggests: of generic netlink, what a request for one object names. A State needs them.

    The source goes by the name ynl:<family> from now on, for captures and `nlbus listen`. A table is called
    after the object that its operations get: link of getlink, dev of dev-get. What the spec has and nlbus
    cannot do is in `limits`, and logged (logger "nlbus"); the rest works.

    UnknownSource for a name without a spec; SchemaError, with the place, for a spec that is not valid;
    MissingExtra without PyYAML and jsonschema (pip install pyyaml jsonschema); OSError.
    """
    document = read(_path(spec, folders))
    chosen = {name: tuple(columns) for name, columns in (keys or {}).items()}
    source = _source(document, chosen)
    register(source)
    if source.limits:
        first = source.limits[0]
        more = f", and {len(source.limits) - 1} more (see .limits)" if len(source.limits) > 1 else ""
        log.info("%s: %s%s", source.name, first, more)
    return source


def available(folders: Iterable[str | os.PathLike[str]] = ()) -> dict[str, Path]:
    """The specs by name that `load` finds here."""
    found: dict[str, Path] = {}
    for folder in _folders(folders):
        if folder.is_dir():
            for path in sorted(folder.glob(f"*{SUFFIX}")):
                found.setdefault(path.stem, path)
    return found


def _path(spec: str | os.PathLike[str], folders: Iterable[str | os.PathLike[str]]) -> Path:
    path = Path(spec)
    if path.suffix == SUFFIX or os.sep in os.fspath(spec) or not isinstance(spec, str):
        return path
    known = available(folders)
    for name in (spec, spec.replace("-", "_"), spec.replace("_", "-")):
        if name in known:
            return known[name]
    where = ", ".join(map(str, _folders(folders)))
    there = f"there are {', '.join(known)}" if known else f"there are no specs in {where}"
    raise UnknownSource(
        f"no spec {spec!r}{did_you_mean(spec, known)}: {there}; give the path of a file, or set {VARIABLE}"
    )


def _folders(folders: Iterable[str | os.PathLike[str]]) -> list[Path]:
    release = os.uname().release
    of_variable = [each for each in os.environ.get(VARIABLE, "").split(os.pathsep) if each]
    return [
        Path(each) for each in (*folders, *of_variable, *(each.format(release=release) for each in FOLDERS))
    ]


# -- the source -------------------------------------------------------------------------------------------


def _source(document: Document, keys: Mapping[str, tuple[str, ...]]) -> Spec:
    found = plans(document)
    names = [plan.name for plan in found]
    for name in keys:
        if name not in names:
            raise SchemaError(f"keys= of {name!r}, which is no table{did_you_mean(name, names)}")
    beside = _beside(document)
    schemas = dict[str, Schema]()
    likes = dict[str, Schema]()
    for plan in found:
        like = _alike(beside, plan)
        schema = schema_of(document, plan, keys.get(plan.name), like, -1 if document.raw else NO_FAMILY)
        if len(columns_of(schema)) > MOST_COLUMNS:
            document.limit(plan.name, f"more than {MOST_COLUMNS} columns: it is no table")
            continue
        schemas[plan.name] = schema
        if like is not None and plan.name not in keys:
            likes[plan.name] = like
    every = {like.name: Translation(like, schemas[name]) for name, like in likes.items()}
    for name, like in likes.items():
        schemas[name] = adopted(schemas[name], like, every)
        lost = dict.fromkeys(each.of for each in like.manners.doubts if each.of not in every)
        if lost and schemas[name].key:
            what = f"rows change with those of {', '.join(lost)}, which the spec lacks: audit= finds that"
            document.limit(name, what)
    if not schemas:
        document.limit(document.name, "no operation lists objects or notifies of them: it has no tables")
    operations = {plan.of.name: plan.name for plan in found}
    for operation in document.operations:
        for plan in found:
            if operation.reply in plan.ops and operation.given.keys() & {"dump", "notify", "event"}:
                operations.setdefault(operation.name, plan.name)
    common: dict[str, Any] = {
        "name": f"{PREFIX}{document.name}",
        "framing": "nlmsg",
        "path": document.path,
        "limits": tuple(document.limits),
        "operations": operations,
        "example": f"nlbus listen --spec {document.name}",
    }
    if document.raw:
        return _raw(document, beside, tuple(schemas.values()), common)
    return _generic(document, tuple(schemas.values()), common)


def _raw(
    document: Document, beside: Source | None, schemas: tuple[Schema, ...], common: Mapping[str, Any]
) -> Spec:
    protocol = document.spec.get("protonum", 0)
    known = PROTOCOLS.get(protocol, Protocol(f"protocol_{protocol}"))
    if beside is not None:
        joined = {beside.groups[group] for schema in schemas for group in schema.groups}
        kept: dict[str, Any] = {name: getattr(beside, name) for name in KEPT}
        return Spec(protocol=protocol, default=Groups(*joined), schemas=schemas, **kept, **common)
    listed = (document.spec.get("mcast-groups") or {}).get("list", ())
    groups = {each["name"]: each["value"] for each in listed if "value" in each}
    return Spec(
        protocol=protocol,
        kernel_name=f"NETLINK_{known.name.upper()}",
        groups=groups,
        default=Groups(*groups.values()),
        sentinel=protocol in REPORT_ERRORS,
        needs=known.needs,
        option=known.option,
        schemas=schemas,
        **common,
    )


def _generic(document: Document, schemas: tuple[Schema, ...], common: Mapping[str, Any]) -> Spec:
    return Spec(
        protocol=NETLINK_GENERIC,
        kernel_name="NETLINK_GENERIC",
        genl=document.name,
        groups={},
        sentinel=True,
        privileged=True,
        needs=NEEDS_ADMIN,
        option="CONFIG_NET",
        schemas=schemas,
        **common,
    )


def _beside(document: Document) -> Source | None:
    """nlbus's own source of this protocol or family: it knows its groups, and what carries which messages."""
    if not document.raw:
        return built_in(document.name)
    if document.spec.get("protonum", 0) == 0:
        return SOURCES["route"]
    return SOURCES.get(document.name)


def _alike(beside: Source | None, plan: Plan) -> Schema | None:
    """nlbus's own table of these messages."""
    for schema in beside.schemas if beside is not None else ():
        if isinstance(schema, Schema):
            numbers = {op.type if op.command < 0 else op.command for op in schema.ops}
            if plan.of.reply in numbers:
                return schema
    return None
