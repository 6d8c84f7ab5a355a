#!/usr/bin/env bash
# polars calls an IO source in a thread of its pool. Such a thread keeps the network namespace in which polars
# started it: after setns or unshare in the calling thread, a source opens its sockets in the old namespace.
# Seen with polars 2.1.0. Needs root, or unprivileged user namespaces.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --target "$folder" polars==2.1.0 2>/dev/null

cat >"$folder/source.py" <<'PYTHON'
import ctypes
import os

import polars as pl
from polars.io.plugins import register_io_source

CLONE_NEWNET = 0x40000000
HERE = "/proc/thread-self/ns/net"


def where(columns, predicate, n_rows, batch_size):
    yield pl.DataFrame({"namespace": [os.readlink(HERE)]})


lazy = register_io_source(where, schema={"namespace": pl.String})
lazy.collect()  # starts the threads
if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
    raise SystemExit(f"unshare: {os.strerror(ctypes.get_errno())}")
ours, seen = os.readlink(HERE), lazy.collect().item()
print(f"polars {pl.__version__}: this thread is in {ours}")
print("guess: the source runs there as well")
print(f"seen:  it ran in {seen}")
raise SystemExit(0 if seen != ours else 1)
PYTHON

spawn=(unshare --net)
((EUID)) && spawn=(unshare --user --map-root-user --net)
PYTHONPATH="$folder" "${spawn[@]}" python3 "$folder/source.py"
