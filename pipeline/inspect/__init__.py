"""`cambeam inspect`."""
