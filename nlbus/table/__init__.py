"""Decoded rows: tables, their columns and conditions, and how the rows of a block become one."""
