"""What a run writes: rows, rejects, markers, and the check of it all."""
