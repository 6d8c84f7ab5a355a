"""Compile C when a benchmark starts."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from nlbus.errors import NlbusError

HERE = Path(__file__).parent
FLAGS = ("-O3", "-std=gnu11", "-Wall", f"-I{HERE}")
PLACE = "NLBUS_BENCH_PLACE"


class NoCompiler(NlbusError, OSError):  # noqa: N818 - it is the name of what is missing
    """There is no C compiler, or it could not compile this; the text says what to install."""


@cache
def _workshop() -> Path:
    """The directory of what is compiled. Child processes use their parent's; the parent removes it."""
    if PLACE not in os.environ:
        os.environ[PLACE] = mkdtemp(prefix="nlbus-bench-")
        atexit.register(shutil.rmtree, os.environ[PLACE], ignore_errors=True)
    return Path(os.environ[PLACE])


def compiled(source: str | Path, *flags: str, shared: bool = False) -> Path:
    """What cc (or $CC) makes of a C file, once a run: a program, or a shared library.

    source: a path; a bare name is one of this directory. flags: for the compiler too, behind the source
    ("-lmnl"). NoCompiler.
    """
    path = HERE / source
    target = _workshop() / (f"{path.stem}.so" if shared else path.stem)
    if target.exists():
        return target
    compiler = os.environ.get("CC") or "cc"
    partial = target.with_name(f"{target.name}.{os.getpid()}")
    kind = ("-shared", "-fPIC") if shared else ()
    try:
        subprocess.run(
            [compiler, *FLAGS, *kind, "-o", str(partial), str(path), *flags],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
    except (FileNotFoundError, PermissionError):
        raise NoCompiler(
            f"no C compiler ({compiler}) for {path.name}: install gcc (Debian: build-essential), or set CC"
        ) from None
    except subprocess.CalledProcessError as error:
        raise NoCompiler(f"{compiler} could not compile {path.name}: {error.stderr.strip()}") from None
    partial.rename(target)  # a concurrent reader sees all of it or nothing
    return target
