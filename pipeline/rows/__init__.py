"""Reading what a run has written."""
