"""The endings of file names, and the formats that they stand for."""

import os

SUFFIXES = {".arrows": "arrow", ".parquet": "parquet"}

# What readers expect in a file with this ending. One command or another of nlbus writes these formats.
NAMED = SUFFIXES | {
    ".pcapng": "pcapng",
    ".csv": "csv",
    ".json": "json", ".jsonl": "json", ".ndjson": "json",
    ".txt": "text", ".log": "text",
    ".arrow": "arrow", ".feather": "arrow", ".ipc": "arrow",
}  # fmt: skip
FOREIGN = frozenset(
    [
        ".7z",
        ".avro",
        ".bz2",
        ".cap",
        ".db",
        ".duckdb",
        ".erf",
        ".gz",
        ".h5",
        ".hdf5",
        ".htm",
        ".html",
        ".lz4",
        ".md",
        ".npy",
        ".npz",
        ".orc",
        ".pcap",
        ".pdf",
        ".pickle",
        ".pkl",
        ".png",
        ".sqlite",
        ".sqlite3",
        ".svg",
        ".tar",
        ".tgz",
        ".toml",
        ".tsv",
        ".xls",
        ".xlsx",
        ".xml",
        ".xz",
        ".yaml",
        ".yml",
        ".zip",
        ".zst",
    ]
)


def named_format(file: str) -> str:
    """The format that the ending of this name stands for; "" for an unknown ending or none.

    A format that nlbus never writes is called as its ending, with the dot.
    """
    ending = os.path.splitext(file)[1].lower()  # noqa: PTH122 - names need not be paths
    return NAMED.get(ending, ending if ending in FOREIGN else "")


def renamed(file: str, ending: str) -> str:
    """This name with another ending."""
    return os.path.splitext(file)[0] + ending  # noqa: PTH122
