"""Shards to batches of decoded images."""
