"""From datagrams to rows: for other extensions only."""

__pyx_capi__: dict[str, object]  # what they cimport
