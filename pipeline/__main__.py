"""`python -m pipeline` is the same as `cambeam`."""

import sys

from pipeline import import_path

if __name__ == "__main__":
    sys.path[:] = import_path.with_own_first(sys.path)
    from pipeline.cli import console_main

    console_main()
