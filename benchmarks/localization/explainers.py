"""Saved explainers as methods among others."""

from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn
from typing_extensions import override

from benchmarks.method_table import Entry
from vitrine.attribution import Method
from vitrine.attribution.targets import Target
from vitrine.explainers.base import Explainer
from vitrine.explainers.loading import load, read_config


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
