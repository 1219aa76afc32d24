"""`cambeam export`."""
