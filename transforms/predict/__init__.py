"""The model call: scores and class maps of a batch."""
