"""Writes a test's figures where programs can read them."""

import json
import math
from pathlib import Path

from pytorch_lightning import Callback, LightningModule, Trainer
from typing_extensions import override

from vitrine.whole import whole_file

METRICS_NAME = "metrics.json"


class MetricsFile(Callback):
    """Leaves ``metrics.json`` in the run's folder after a test: one flat object of names and numbers, null for NaN."""

    @override
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Asked for on all ranks: what Lightning has not computed by now is a collective.
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if not trainer.is_global_zero:
            return
        finite = {name: value if math.isfinite(value) else None for name, value in sorted(values.items())}
        with whole_file(Path(trainer.default_root_dir, METRICS_NAME)) as partial:
            partial.write_text(json.dumps(finite, indent=2) + "\n", encoding="utf-8")
