"""The report of a run: tables, pictures, comparisons."""
