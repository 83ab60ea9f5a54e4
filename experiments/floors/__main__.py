"""``python -m experiments.floors``."""

import sys

from experiments.floors.cli import main

if __name__ == "__main__":
    sys.exit(main())
