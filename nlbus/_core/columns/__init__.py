"""From rows to columns and arrays: decoders, the column store, Arrow."""
