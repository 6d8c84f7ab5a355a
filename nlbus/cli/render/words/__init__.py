"""Words of rows: a line of text per row, as people know it from the tools of each source."""
