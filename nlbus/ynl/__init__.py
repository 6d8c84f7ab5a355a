"""Sources from the kernel's own YNL specs: see `load`."""

from nlbus.ynl.document import Limit
from nlbus.ynl.source import FOLDERS, VARIABLE, Spec, available, load

__all__ = ["FOLDERS", "VARIABLE", "Limit", "Spec", "available", "load"]
