"""What should exist for a model: pure builders, from resource to manifest, or None where nothing should exist."""
