"""What bytes mean: schemas as data, topics, and the programs that the decoders run."""
