"""Types that many modules name."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Structured: TypeAlias = np.ndarray[tuple[int], np.dtype[np.void]]
Bytes: TypeAlias = np.ndarray[tuple[int], np.dtype[np.uint8]]
Array: TypeAlias = npt.NDArray[Any]

UNNAMED = object()  # "no argument", where None is one
