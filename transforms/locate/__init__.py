"""Class maps to boxes."""
