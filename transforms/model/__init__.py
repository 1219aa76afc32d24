"""Which classifier, and loading it."""
