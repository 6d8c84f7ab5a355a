"""Conditions as socket filters: what the kernel need not queue."""
