"""The parts of `nlbus demo`."""
