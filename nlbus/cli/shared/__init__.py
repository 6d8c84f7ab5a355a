"""What several commands share: options, subscribing, sinks, ending well."""
