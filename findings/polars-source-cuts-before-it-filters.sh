#!/usr/bin/env bash
# An IO source of polars that gets a predicate and a number of rows must cut first and filter then: polars passes
# both only for `head(n).filter(...)`, and repairs neither. A source that filters first, as scans of SQL engines do
# with LIMIT, returns rows that the query does not have. Seen with polars 2.1.0, in both engines.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --target "$folder" polars==2.1.0 2>/dev/null

cat >"$folder/source.py" <<'PYTHON'
import polars as pl
from polars.io.plugins import register_io_source

FRAME = pl.DataFrame({"n": range(10)})
CONDITION = pl.col("n") >= 5


def filters_first(columns, predicate, n_rows, batch_size):
    frame = FRAME if predicate is None else FRAME.filter(predicate)
    yield frame if n_rows is None else frame.head(n_rows)


wanted = FRAME.head(3).filter(CONDITION).height
seen = {}
for engine in ("in-memory", "streaming"):
    lazy = register_io_source(filters_first, schema=FRAME.schema)
    seen[engine] = lazy.head(3).filter(CONDITION).collect(engine=engine).height
print(f"polars {pl.__version__}: the first 3 of 10 numbers, of these the ones from 5 on: {wanted} rows")
print("guess: a source filters, then cuts; or polars checks what it gets")
print(f"seen:  {seen} rows from a source that filters first")
raise SystemExit(0 if set(seen.values()) == {3} else 1)
PYTHON

PYTHONPATH="$folder" python3 "$folder/source.py"
