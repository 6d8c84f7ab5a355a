"""Attributes to cells: the decoder's reading half."""

from typing_extensions import disjoint_base

from nlbus._core.columns.store import Store

@disjoint_base
class Attributes(Store): ...
