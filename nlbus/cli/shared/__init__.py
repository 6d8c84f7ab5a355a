"""What several commands share: options, subscribing, output, shutdown."""
