"""The same job by many transports: one publisher process, subscribers that read the events into numpy.

A transport is a small file here, or a plug-in: a subclass of `transport.Transport` that an installed package
names in the entry point group "nlbus.bench.transports", or that `--transport module:Class` does.
"""

from nlbus.bench.transports.rounds import CAVEATS, measure

__all__ = ["CAVEATS", "measure"]
