"""Coverage-guided fuzzing of everything that reads untrusted bytes or text: `make fuzz`."""
