"""Events, rows and tables as lines of text, JSON and CSV."""
