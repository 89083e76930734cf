"""A network and the images that it is explained on."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from benchmarks.common import NamedWeights
from benchmarks.localization.images import LocalizationSet, batches
from benchmarks.localization.methods import ROWS, NamedFolder, Row
from vitrine.attribution.target_layer import target_layer
from vitrine.backbones.copying import weight_digest
from vitrine.data.preprocessing import Preprocessing


@dataclass(frozen=True)
class Subject:
    """What the rows of a table are measured on."""

    images: LocalizationSet
    network: NamedWeights
    model: nn.Module
    digest: str
    """Of the network's weights."""
    layer: str
    """That methods draw which draw one."""
    rows: dict[str, Row]
    preprocessing: Preprocessing

    @classmethod
    def build(cls, images: LocalizationSet, network: NamedWeights, args: argparse.Namespace) -> "Subject":
        """Loads the network.

        Raises:
            ValueError: where it has no logit for a class of the images.
        """
        torch.manual_seed(args.seed)  # networks without weights are drawn
        model = network.build(args.device).requires_grad_(requires_grad=False)
        preprocessing, digest = Preprocessing(args.size, None), weight_digest(model.state_dict())
        inputs = next(batches(images.measured, preprocessing, 1)).images.to(args.device)
        _check_classes(images, network, len(model(inputs)[0]))
        rows = {name: ROWS[name] for name in args.methods}
        own = [explainer for explainer in args.explainers if explainer.digest == digest]
        rows |= {explainer.name: explainer.entry(slow=explainer.name in args.slow) for explainer in own}
        return cls(images, network, model, digest, target_layer(model, inputs), rows, preprocessing)

    def accuracy(self, args: argparse.Namespace) -> float:
        """Share of the measured images whose class the network predicts."""
        right = 0
        with torch.no_grad():
            for part in batches(self.images.measured, self.preprocessing, args.batch_size):
                right += int((self.model(part.images.to(args.device)).argmax(dim=1).cpu() == part.labels).sum())
        return right / len(self.images.measured)

    @property
    def title(self) -> str:
        """As people read it."""
        return f"{self.images.name}, {self.network.name}"

    @property
    def settings(self) -> dict[str, Any]:
        """What figures depend on, whatever the method."""
        return {"folder": str(self.images.folder), "digest": self.digest, "size": self.preprocessing.size}


def _check_classes(images: LocalizationSet, network: NamedWeights, logits: int) -> None:
    highest = max(sample.labels[0] for sample in [*images.tuning, *images.measured])
    if highest >= logits:
        raise ValueError(
            f"{network.name} has {logits} logits, but images of {images.folder} have the class {highest}; give weights"
            " of a network that tells these classes apart."
        )


def all_explained(subjects: Sequence[Subject], explainers: Sequence[NamedFolder]) -> None:
    """Sees to it that each explainer is measured.

    Raises:
        ValueError: where one was fitted to none of the networks.
    """
    for explainer in explainers:
        if explainer.digest not in {subject.digest for subject in subjects}:
            raise ValueError(
                f"{explainer.folder} was fitted to weights with the digest {explainer.digest}, which none of the networks"
                " has; give that network too."
            )
