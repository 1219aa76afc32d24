"""The formats of `cambeam export`, one module each."""
