"""``python -m vitrine.backbones``: describes networks, and embeds class names; see `vitrine.explainers.describe`."""

import runpy

if __name__ == "__main__":
    # What can be done at a layer is known above this package, which imports nothing from there.
    runpy.run_module("vitrine.explainers.describe", run_name="__main__")
