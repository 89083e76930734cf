"""``python -m vitrine.compare``: tested methods in one table; see `vitrine.visualization.comparison`."""

import signal
import sys

from vitrine.visualization.comparison.cli import main

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a cluster's time limit cleans up as Ctrl-C does
    sys.exit(main())
