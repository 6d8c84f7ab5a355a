"""From columns to rows of Python, JSON, CSV and text."""
