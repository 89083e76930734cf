"""Moved features: how far the features that heads read are from those of the network on which the heads were trained."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

import vitrine
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.networks import MOVED_CLASSES
from vitrine.core.batch import Batch
from vitrine.core.class_files import absolute_name
from vitrine.core.distributed import sum_over_ranks
from vitrine.data.feature_store import FeatureExtractor
from vitrine.explainers.saving import BACKBONE_NAME

ENOUGH = 64
"""Images of a rank that are looked at."""


class Movement(NamedTuple):
    """How far features have moved, over some training images."""

    relative_distance: float
    """√(Σ‖z′ − z‖² / Σ‖z‖²), with z of the earlier network."""
    cosine: float
    """Mean cosine of z′ and z."""
    images: int

    def __str__(self) -> str:
        return (
            f"the features that heads read moved by {self.relative_distance:.3g} of their length (relative L2), with a"
            f" cosine of {self.cosine:.3f}, over {self.images} training images"
        )


def earlier_extractor(
    folder: Path, config: dict[str, Any], backbone: FrozenBackbone, device: torch.device
) -> FeatureExtractor | str:
    """What computes the features of an exported explainer; or why nothing does.

    Its network is built only where it has the name of the one at hand, which the caller has given, and its weights are in the
    folder.

    Args:
        folder: of the explainer.
        config: its ``explainer.json``.
        backbone: the one at hand.
        device: where it computes.
    """
    entry, options = config["backbone"], backbone.options
    here, there = absolute_name(options.name), str(entry.get("name"))
    if MOVED_CLASSES.get(here, here) != MOVED_CLASSES.get(there, there):
        return f"that network was {there}, and this one is {here}"
    if not (folder / BACKBONE_NAME).is_file():
        return f"{folder} does not hold the weights of its network"
    earlier = replace(options, weights=str(folder / BACKBONE_NAME), num_classes=entry.get("num_classes"))
    try:
        explainer = vitrine.load(folder, backbone=FrozenBackbone.from_options(earlier)).to(device)
    except (ValueError, OSError) as error:
        return f"its network cannot be built: {error}"
    return explainer.cacheable_features or f"{config['explainer']} reads no features of its own"


@torch.no_grad()
def movement(
    before: FeatureExtractor, now: FeatureExtractor, batches: Iterable[Batch], device: torch.device
) -> Movement | None:
    """How far features moved, over the first images of all ranks; None where there are none. A collective.

    Args:
        before: computes z.
        now: computes z′.
        batches: of this rank, on the device.
        device: of the extractors.
    """
    sums = torch.zeros(4, dtype=torch.float64)
    for batch in batches:
        images = batch["image"]
        if len(images):
            z, moved = (extractor(images)["features"].double().flatten(1).cpu() for extractor in (before, now))
            cosines = torch.nn.functional.cosine_similarity(z, moved, dim=1)
            measured = [(moved - z).square().sum(), z.square().sum(), cosines.sum(), cosines.new_tensor(len(z))]
            sums += torch.stack(measured)
        if sums[3] >= ENOUGH:
            break
    distance, length, cosine, count = sum_over_ranks(sums.float().to(device)).tolist()
    return Movement((distance / length) ** 0.5 if length else 0.0, cosine / count, int(count)) if count else None
