"""``python -m vitrine.shards``: makes and verifies WebDataset shards; see `vitrine.data.shards`."""

import signal
import sys

from vitrine.data.shards.cli import main

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a cluster's time limit cleans up as Ctrl-C does
    sys.exit(main())
