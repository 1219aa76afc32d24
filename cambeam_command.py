"""Where the command `cambeam` starts: in a folder with other modules of the names of cambeam's packages, too."""

import os
import sys


def main() -> None:
    """Imports cambeam's own packages, whatever a folder of PYTHONPATH has, and runs the command line."""
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    from pipeline import import_path

    sys.path[:] = import_path.with_own_first(sys.path[1:])
    from pipeline.cli import console_main

    console_main()
