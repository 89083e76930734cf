"""``python -m vitrine``: the commands of the console script, see `vitrine.commands`."""

import sys

from vitrine.commands import main

if __name__ == "__main__":
    sys.exit(main())
