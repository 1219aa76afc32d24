"""`python -m pipeline` is the same as `cambeam`."""

from pipeline.cli import console_main

if __name__ == "__main__":
    console_main()
