"""Measurements, run by hand; they print ratios."""
