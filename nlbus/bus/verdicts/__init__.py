"""Verdicts on packets that wait in the kernel: which wait, what was decided, and the requests that say so."""
