"""Methods of the tables: attribution methods, saved explainers, and baselines that ignore network and image."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torchvision.ops import box_iou
from typing_extensions import override

from benchmarks.method_maps import CLASS_METHODS
from benchmarks.method_table import METHODS, Entry
from vitrine.attribution import Method
from vitrine.attribution.targets import Target
from vitrine.explainers.base import Explainer
from vitrine.explainers.config_file import read_config
from vitrine.explainers.loading import load

WHOLE_IMAGE = "WholeImage"


def whole_image_ious(boxes: Sequence[Tensor], size: int) -> Tensor:
    """(N,) float64: the highest IoU of the whole image with any of its boxes, (k, 4) on an input of that side."""
    whole = torch.tensor([[0, 0, size, size]], dtype=torch.float64)
    return torch.stack([box_iou(whole, own.double()).amax() for own in boxes])


class GaussianCentre(Method):
    """exp(−d² / 2σ²), where d is the distance to the centre of the input, and σ a quarter of its side.

    What is on is a disc, as with `Center`, but shrinks by smaller steps as α grows.

    Args:
        model: nothing of it is used.
        layer: as in `Center`.
    """

    def __init__(self, model: nn.Module, layer: str | nn.Module | None = None) -> None:
        super().__init__(model, layer)

    @override
    def maps(self, inputs: Tensor, target: Target) -> Tensor:
        down, across = (_bell(side, inputs) for side in inputs.shape[-2:])
        return (down[:, None] * across).expand(len(inputs), 1, 1, -1, -1).clone()


def _bell(side: int, like: Tensor) -> Tensor:
    places = torch.arange(side, dtype=like.dtype, device=like.device) - (side - 1) / 2
    return (-0.5 * (places / (side / 4)) ** 2).exp()


Row: TypeAlias = Entry | None
"""How a row's maps are made; None for the row that has none, WholeImage."""

ROWS: dict[str, Row] = {
    WHOLE_IMAGE: None,
    "GaussianCentre": Entry(GaussianCentre),
    **{name: METHODS[name] for name in CLASS_METHODS},
}


class NamedFolder(NamedTuple):
    """An explainer by the name of its row, and the folder that it was saved to."""

    name: str
    folder: Path

    @classmethod
    def parse(cls, text: str) -> "NamedFolder":
        """Reads ``NAME=FOLDER``, or a folder alone, which then gives the name."""
        name, given, folder = text.rpartition("=")
        return cls(name if given else Path(folder).name, Path(folder))

    @property
    def digest(self) -> str:
        """Of the weights that it was fitted to."""
        return str(read_config(self.folder)["weight_digest"])

    def entry(self, *, slow: bool) -> Entry:
        """A row of its own."""

        def build(model: nn.Module, _layer: str | None, folder: str) -> Method:
            device = next(model.parameters()).device
            return ExplainerMaps(model, load(folder, backbone=model, device=str(device)))

        return Entry(build, {"folder": str(self.folder)}, slow=slow)


class ExplainerMaps(Method):
    """An explainer's ``attribute`` with the face of a method.

    Args:
        model: the network.
        explainer: fitted to it.
    """

    def __init__(self, model: nn.Module, explainer: Explainer) -> None:
        super().__init__(model)
        self.explainer = explainer

    @override
    def maps(self, inputs: Tensor, target: Target) -> Tensor:
        return self.explainer.attribute(inputs, target.indices).detach()[:, None]
