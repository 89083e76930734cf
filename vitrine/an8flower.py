"""``python -m vitrine.an8flower``: renders an8Flower as shards; see `vitrine.data.an8flower`."""

import sys

from vitrine.data.an8flower.cli import main

if __name__ == "__main__":
    sys.exit(main())
