"""`cambeam run`."""
