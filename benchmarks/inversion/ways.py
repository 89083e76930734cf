"""Ways to find masks of the same images and classes: ours, the literal schemes, and from a trained predictor."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

import vitrine
from benchmarks.inversion import literal
from vitrine.attribution.inversion import InversionResult, InversionSettings
from vitrine.attribution.inversion.objective import background_of
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.explainers import InversionExplainer
from vitrine.explainers.inversion.explainer import InversionOptions

LITERAL = "literal"
RELEASED = "released scheme"
FLOAT32 = "ours"
BFLOAT16 = "ours, bf16"
WAYS = {
    LITERAL: "Algorithms 1 and 2 in plain PyTorch, one image after the other, float32",
    RELEASED: "the released code's scheme in plain PyTorch, one image after the other, float32",
    FLOAT32: "InversionExplainer, float32",
    BFLOAT16: "InversionExplainer under bf16 autocast",
}


class Found(NamedTuple):
    """Of all images."""

    loss: Tensor
    """(B,) before the last step."""
    masks: Tensor
    """(B, 1, H, W)."""


Run = Callable[[], Found]


class Problem:
    """Images and the classes that a network sees in them.

    Args:
        model: in eval mode.
        images: (B, 3, H, W).
        steps: of stages 1 and 2.
        batch: images that ours goes through with at once.
    """

    def __init__(self, model: nn.Module, images: Tensor, steps: tuple[int, int], batch: int) -> None:
        self.images, self.steps, self.batch = images, steps, batch
        self.explainer = InversionExplainer(
            FrozenBackbone(model),
            InversionOptions(
                variant="paper",
                overrides={"inversion_steps": steps[0], "class_steps": steps[1]},
                image_size=images.shape[-1],
            ),
        )
        self.model = self.explainer.backbone.model
        with torch.no_grad():
            self.targets = torch.cat([self.model(part).argmax(dim=1) for part in torch.split(images, batch)])

    def runs(self) -> Mapping[str, Run]:
        """By the names of `WAYS`."""
        return {LITERAL: self.literal, RELEASED: self.released, FLOAT32: self.ours, BFLOAT16: self.ours_in_bfloat16}

    def literal(self) -> Found:
        """As the paper has it."""
        layers = (self.explainer.layers.inversion, self.explainer.layers.mask[0])
        return _joined(
            literal.paper(self.model, image, background_of(image, "blur"), target, layers, self.steps)
            for image, target in self._one_by_one()
        )

    def released(self) -> Found:
        """As the authors' code does it: with losses of its own, and as many steps in all."""
        layer = self.explainer.layers.inversion
        return _joined(
            literal.released(self.model, image, background_of(image, "blur"), target, layer, self.steps)
            for image, target in self._one_by_one()
        )

    def ours(self) -> Found:
        """A batch after the other."""
        parts = zip(torch.split(self.images, self.batch), torch.split(self.targets, self.batch), strict=True)
        return _of(self.explainer.explanation_and_result(images, targets)[1] for images, targets in parts)

    def ours_in_bfloat16(self) -> Found:
        """The same under autocast."""
        with torch.autocast(self.images.device.type, torch.bfloat16):
            return self.ours()

    def _one_by_one(self) -> Iterator[tuple[Tensor, int]]:
        return zip(torch.split(self.images, 1), self.targets.tolist(), strict=True)


def _of(results: Iterator[InversionResult]) -> Found:
    pairs = [(result.loss, result.masks) for result in results]
    return Found(torch.cat([loss for loss, _ in pairs]), torch.cat([masks for _, masks in pairs]))


def _joined(outcomes: Iterator[literal.Outcome]) -> Found:
    found = list(outcomes)
    return Found(torch.stack([one.losses[-1] for one in found]), torch.cat([one.mask for one in found]))


WHOLE = "from the start"
RESTING = "from the start, until at rest"
BEGUN = "predicted, and a few steps"
ALONE = "predicted"


class Part(NamedTuple):
    """Settings, and whether the predictor begins."""

    settings: InversionSettings
    predicted: bool


def explainer_of(folder: Path, weights: str | None, device: str) -> InversionExplainer:
    """From a folder.

    Raises:
        ValueError: where it is of another kind, or has no predictor.
    """
    explainer = vitrine.load(folder, backbone=weights, device=device)
    if not isinstance(explainer, InversionExplainer) or explainer.predictor is None:
        raise ValueError(f"{folder} holds no InversionExplainer with a predictor; train one, or name another folder.")
    return explainer


def parts_of(explainer: InversionExplainer, steps: tuple[int, int], few: int) -> dict[str, Part]:
    """All steps, those until rest, a few after the prediction, and none."""
    whole = replace(explainer.settings, inversion_steps=steps[0], class_steps=steps[1], stop_when_converged=False)
    return {
        WHOLE: Part(whole, predicted=False),
        RESTING: Part(replace(whole, stop_when_converged=True), predicted=False),
        BEGUN: Part(replace(whole, inversion_steps=0, class_steps=few), predicted=True),
        ALONE: Part(replace(whole, inversion_steps=0, class_steps=0), predicted=True),
    }


def warm_runs(
    explainer: InversionExplainer, images: Tensor, batch: int, steps: tuple[int, int], few: int
) -> Mapping[str, Callable[[], InversionResult]]:
    """What explains the images, by the way to do so."""
    return {name: _run(explainer, part, images, batch) for name, part in parts_of(explainer, steps, few).items()}


def _run(explainer: InversionExplainer, part: Part, images: Tensor, batch: int) -> Callable[[], InversionResult]:
    def run() -> InversionResult:
        settings, predictor = explainer.settings, explainer.predictor
        explainer.settings, explainer.predictor = part.settings, predictor if part.predicted else None
        try:
            results = [explainer.explanation_and_result(rows)[1] for rows in torch.split(images, batch)]
        finally:
            explainer.settings, explainer.predictor = settings, predictor
        names = ("weights", "masks", "loss", "steps", "converged")
        return InversionResult(**{name: torch.cat([getattr(one, name) for one in results]) for name in names})

    return run
