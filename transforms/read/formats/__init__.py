"""The formats of input: a module for each, and the registry of them."""
