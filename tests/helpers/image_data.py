"""A datamodule with what modules and callbacks ask of one, for tests that give what they look at."""

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl

from vitrine.core.batch import Batch


class ImageData(pl.LightningDataModule):
    """Satisfies `ExplanationData`, without images of its own."""

    classes: Sequence[str] = ()
    preprocessing: Any = None
    multi_label = False
    annotations: frozenset[str] = frozenset()

    def panel(self, count: int) -> Batch:  # noqa: ARG002 - as `ExplanationData` has it
        """There is no image to draw."""
        return Batch()
