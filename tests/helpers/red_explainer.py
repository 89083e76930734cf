"""An explainer whose map is the red channel, its module, and a silent trainer, for callbacks that measure beside a test."""

from pathlib import Path
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from typing_extensions import override

from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.explainers import Explainer


class RedExplainer(Explainer):
    """The red channel explains the class after the predicted one; of some of the images there is nothing to say."""

    def red(self, images: Tensor) -> Tensor:
        """(B, 1, H, W) maps."""
        return images[:, :1] * (images[:, :1, :1, :1] > -0.5)

    @override
    def explain_batch(self, images: Tensor, target: Any) -> Explanation:
        logits = self.backbone(images).logits
        prediction = logits.argmax(dim=1)
        one, labels = torch.ones(len(images), 1), [["red"]] * len(images)
        return Explanation(self.red(images), one, labels, prediction, (prediction + 1) % 3, logits)


class InfiniteRedExplainer(RedExplainer):
    """Here the map of an image is not finite where it is reddest."""

    @override
    def red(self, images: Tensor) -> Tensor:
        return images[:, :1].masked_fill(images[:, :1] > 2.9, torch.inf)


class Module(pl.LightningModule):
    """Always the same weights; draws a random number in each step, which no callback may change."""

    explainer_type: ClassVar[type[RedExplainer]] = RedExplainer

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 3))
        backbone = FrozenBackbone(network)
        self.explainer: nn.Module | None = self.explainer_type(backbone, classes=["loon", "tern", "gull"])

    def test_step(self, batch: Batch) -> Explanation:  # type: ignore[override]  # Lightning hands it to the callbacks
        self.log("test/random", torch.rand(()), batch_size=len(batch["image"]))
        explainer: Any = self.explainer
        return explainer.explain(batch["image"])


class InfiniteModule(Module):
    """With maps that are not finite."""

    explainer_type = InfiniteRedExplainer


def trainer(folder: Path, *callbacks: pl.Callback, **options: Any) -> pl.Trainer:
    """A silent trainer on the CPU, whose data share themselves out."""
    defaults: dict[str, Any] = {
        "accelerator": "cpu", "devices": 1, "logger": False, "enable_checkpointing": False,
        "enable_progress_bar": False, "enable_model_summary": False, "use_distributed_sampler": False,
    }  # fmt: skip
    return pl.Trainer(default_root_dir=folder, callbacks=list(callbacks), **(defaults | options))
