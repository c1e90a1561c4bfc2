"""``python -m fastnn``: the command line, where no ``fastnn`` script is on the path."""

import sys

from fastnn.cli import main

if __name__ == "__main__":
    sys.exit(main())
