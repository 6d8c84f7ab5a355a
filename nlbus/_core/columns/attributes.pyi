"""Attributes to cells: the decoder's reading half."""

from nlbus._core.columns.store import Store
from typing_extensions import disjoint_base

@disjoint_base
class Attributes(Store): ...
