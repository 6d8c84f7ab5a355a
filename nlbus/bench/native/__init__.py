"""The C beside which nlbus is measured: its sources, compiled on demand and called by ctypes.

`nlbus.h` is kmod/uapi/nlbus.h, the wire document; what is installed has a copy.
"""

from nlbus.bench.native.compiling import NoCompiler, compiled
from nlbus.bench.native.floor import Ears, Sum, Voice

__all__ = ["Ears", "NoCompiler", "Sum", "Voice", "compiled"]
