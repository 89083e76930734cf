"""``python -m vitrine.export``: see `vitrine.export.cli`."""

import sys

from vitrine.export.cli import main

if __name__ == "__main__":
    sys.exit(main())
