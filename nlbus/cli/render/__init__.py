"""Events, rows and tables as text, JSON and files."""
