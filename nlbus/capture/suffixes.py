"""The endings of file names, and the formats that they stand for."""

SUFFIXES = {".arrows": "arrow", ".parquet": "parquet"}
