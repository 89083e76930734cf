"""``python -m vitrine.serve``: see `vitrine.serve.cli`."""

import sys

from vitrine.serve.cli import main

if __name__ == "__main__":
    sys.exit(main())
