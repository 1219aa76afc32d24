"""`cambeam demo`."""
