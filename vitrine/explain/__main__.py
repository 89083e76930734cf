"""``python -m vitrine.explain``: see `vitrine.explain.cli`."""

import sys

from vitrine.explain.cli import main

if __name__ == "__main__":
    sys.exit(main())
