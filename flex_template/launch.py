"""What a flex template's launcher runs: `cambeam run` with the template's parameters as its options."""

import sys

from pipeline.cli import main

sys.exit(main(["run", *sys.argv[1:]]))
