"""``python -m vitrine.sweep``: runs the settings of a sweep file on this machine; see `vitrine.sweep.cli`."""

import signal
import sys

from vitrine.sweep.cli import main

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a cluster's time limit cleans up as Ctrl-C does
    sys.exit(main())
