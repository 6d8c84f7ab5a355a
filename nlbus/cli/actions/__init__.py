"""What the commands do. Their options and help are in `commands/`."""
