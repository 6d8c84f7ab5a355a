"""Pending datagrams: for other extensions only."""

__pyx_capi__: dict[str, object]  # what they cimport
