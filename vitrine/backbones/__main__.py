"""``python -m vitrine.backbones``: describes networks, and embeds class names; see `vitrine.describe`."""

import sys

from vitrine.describe import main

if __name__ == "__main__":
    sys.exit(main())
