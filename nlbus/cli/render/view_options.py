"""The values of the options that select what is shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from nlbus import Expression


@dataclass(frozen=True)
class ViewOptions:
    """The values of the options that select what is shown."""

    output: str
    tables: list[str]
    columns: list[str]
    where: Expression | None
    everything: bool
    raw: bool
    match: dict[str, str] = field(default_factory=dict)
    local: bool = False

    def __post_init__(self) -> None:
        if self.raw and self.chooses:
            raise click.UsageError(
                "--raw shows messages as they come: no --table, --columns, --where, --match"
            )
        if self.raw and self.output not in ("text", "json"):
            raise click.UsageError(f"--raw is of text and json, not of {self.output}")
        if self.local and self.output in ("arrow", "parquet", "pcapng"):
            raise click.UsageError(f"--local is of text, json and csv: times of {self.output} are in UTC")
        if self.output == "pcapng" and self.chooses:
            raise click.UsageError("a capture has all messages, whole: no --table, --columns, --where ...")

    @property
    def chooses(self) -> bool:
        """Whether the options select tables, columns or rows."""
        return bool(self.tables or self.columns or self.where is not None or self.match)

    @property
    def complete(self) -> bool:
        """Whether all columns are shown if none are named."""
        return self.everything or self.output != "text"
