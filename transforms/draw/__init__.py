"""Heat-map thumbnails."""
