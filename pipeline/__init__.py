"""cambeam: labels image collections with what a classifier sees, and where it sees it."""

__version__ = "0.1.0"
