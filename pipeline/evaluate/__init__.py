"""`cambeam evaluate`."""
