"""Run the command line: ``python -m dropstats``."""

import sys

from dropstats.cli import main

if __name__ == "__main__":
    sys.exit(main())
