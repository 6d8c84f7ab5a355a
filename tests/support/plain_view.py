"""A view that makes its lines one by one, of records: how nlbus did it before compiled code. The oracle."""

from collections.abc import Iterator
from typing import Any

from nlbus import Batch
from nlbus.cli.render.records import Record, as_json, as_text, events
from nlbus.cli.render.view import LEFT_OUT, View, prepared


class PlainView(View):
    def records(self, batch: Batch, limit: int | None = None) -> Iterator[Record]:
        rows: dict[int, tuple[str, dict[str, Any]]] = {}
        if self._query is not None:
            for row in self._query.rows(batch):
                name, shown = row.pop("nl_table"), prepared(self.source, row)
                if self._fits(shown):
                    rows[row["nl_row"]] = name, shown
        return events(self.source, batch, limit, rows, self._rest)

    def line(self, record: Record) -> str:
        if self._options.output == "json":
            return as_json(self._chosen(record) if "row" in record else record)
        return self._words.line(record) if "row" in record else as_text(record)

    def _chosen(self, record: Record) -> Record:
        row, columns = record["row"], self._options.columns
        if columns:
            kept = {name: row[name] for name in ("nl_op", "nl_nsid", *columns) if name in row}
        else:
            kept = {name: value for name, value in row.items() if name not in LEFT_OUT}
        return record | {"row": kept}
