"""``python -m vitrine.features``: lists, verifies and prunes stores of features; see `vitrine.data.feature_store`."""

import signal
import sys

from vitrine.data.feature_store.cli import main

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a cluster's time limit cleans up as Ctrl-C does
    sys.exit(main())
