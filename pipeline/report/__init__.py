"""`cambeam report`."""
