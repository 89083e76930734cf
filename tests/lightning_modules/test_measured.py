"""What a test step measured of each row, and curves over all batches."""

import pytorch_lightning as pl
import torch
from torch import nn

from lightning_modules.measured import log_figures, measured
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.metrics import IoUCurve


def explanation_of(maps: torch.Tensor) -> Explanation:
    classes = torch.arange(len(maps))
    return Explanation(
        maps, torch.ones(len(maps), 1), [["all"]] * len(maps), classes, classes, torch.zeros(len(maps), 4)
    )


class Logged(pl.LightningModule):
    """Keeps what it is asked to log."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, float] = {}

    def log_dict(self, dictionary, **options) -> None:  # type: ignore[no-untyped-def,override]  # noqa: ARG002
        self.kept |= {name: float(value) for name, value in dictionary.items()}


def test_rows_figures_and_curves() -> None:
    maps = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
    masks[:2, :, :4] = 1  # the third has none
    metrics = nn.ModuleList([IoUCurve(), nn.Identity()])
    rows = measured(metrics, explanation_of(maps), Batch(key=["a", "b", "c"], mask=masks))
    assert (rows.keys, rows.targets) == (["a", "b", "c"], [0, 1, 2])
    iou = rows.values["iou"]
    assert iou.isnan().tolist() == [False, False, True]
    module = Logged()
    curves = log_figures(module, metrics, prefix="test/")
    assert module.kept["test/iou"] == float(iou[:2].mean().float())
    curve = curves["iou"]
    assert len(curve.x) == len(curve.y) == 101
    area = 100 * torch.trapezoid(torch.tensor(curve.y, dtype=torch.float64), torch.tensor(curve.x, dtype=torch.float64))
    assert float(area.float()) == module.kept["test/iou"]
    assert not log_figures(module, metrics, prefix="test/")  # nothing was measured since


def test_a_batch_without_names_has_none() -> None:
    assert measured([], explanation_of(torch.rand(1, 1, 4, 4)), Batch()).keys == []
