"""Cython's own helpers, compiled once for all extensions. Nothing here is called by name."""

__pyx_capi__: dict[str, object]  # what the extensions import

def __getattr__(name: str) -> object: ...
