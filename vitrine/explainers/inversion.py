"""One class-discriminative mask an image, found by guided feature inversion (Du, Liu, Song and Hu, KDD 2018)."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from vitrine.attribution.inversion import (
    InversionObjective,
    InversionResult,
    InvertedNetwork,
    Reading,
    WeightPredictor,
    ignored,
    inversion_layers,
    optimise,
    predicted,
    settings_of,
)
from vitrine.attribution.precision import without_autocast
from vitrine.backbones import FrozenBackbone
from vitrine.explainers.base import Explainer, Target, target_classes
from vitrine.explanation import Explanation
from vitrine.glass import behind_glass
from vitrine.preprocessing import Preprocessing


class InversionExplainer(Explainer):
    """The mask m = Σ ωᵢ fᵢ of a layer's activation maps under which the network sees the same, and the class.

    ω ≥ 0 is optimised for each image (Algorithms 1 and 2 of the paper); or predicted, by a `WeightPredictor` that is trained
    with the same losses over a data set, as the start of fewer steps or, without any, as the answer itself.

    Args:
        backbone: the classifier behind glass.
        classes: names of the backbone's logits.
        preprocessing: how images are made ready for the backbone.
        variant: ``paper``, or ``released`` for what the authors' code does; it sets all options below that are None.
        inversion_layer: l₀; the paper's for its networks, and the last map for others, see `inversion_layers`.
        mask_layers: l₁; with several, the mask is a sum of all their channels.
        predictor: hidden units of the predictor of ω; 0 for none.
        inversion_steps: see `InversionSettings`, as for all that follow.
        class_steps: see there.
        learning_rate: see there.
        inversion_penalty: γ.
        class_penalty: δ.
        suppression: λ.
        score: of the class: ``probability``, ``log_probability`` or ``logit``.
        background: ``blur``, ``mean`` or ``noise``.
        tolerance: change of the mask in a step at which it is at rest.
        stop_at_rest: whether an image's steps end there.
        image_size: side of the backbone's input, used once to find its layers.
        seed: of the background ``noise``.

    Raises:
        ValueError: for an unknown word or layer, or a number out of range.
    """

    def __init__(
        self,
        backbone: FrozenBackbone,
        classes: Sequence[str] | None = None,
        preprocessing: Preprocessing | None = None,
        variant: str = "paper",
        inversion_layer: str | None = None,
        mask_layers: Sequence[str] = (),
        predictor: int = 0,
        inversion_steps: int | None = None,
        class_steps: int | None = None,
        learning_rate: float | None = None,
        inversion_penalty: float | None = None,
        class_penalty: float | None = None,
        suppression: float | None = None,
        score: str | None = None,
        background: str | None = None,
        tolerance: float | None = None,
        stop_at_rest: bool | None = None,
        image_size: int = 224,
        seed: int = 0,
    ) -> None:
        super().__init__(backbone, classes, preprocessing)
        self.changes = {
            "inversion_steps": inversion_steps,
            "class_steps": class_steps,
            "learning_rate": learning_rate,
            "inversion_penalty": inversion_penalty,
            "class_penalty": class_penalty,
            "suppression": suppression,
            "score": score,
            "background": background,
            "tolerance": tolerance,
            "stop_at_rest": stop_at_rest,
        }
        self.variant = variant
        self.settings = settings_of(variant, **self.changes)
        self.image_size = image_size
        self.seed = seed
        image = torch.zeros(1, 3, image_size, image_size)
        with behind_glass(backbone.model):
            self.layers = inversion_layers(backbone.model, image, inversion_layer, tuple(mask_layers))
            self.network = InvertedNetwork(backbone.model, self.layers, self.settings.score)
            channels = self.network.read(image).activations.shape[1]
        self.hidden = predictor
        self.predictor = WeightPredictor(channels, predictor, start=self.settings.start) if predictor else None

    def options(self) -> dict[str, Any]:
        """See `Explainer.options`; layers by name."""
        return {
            "variant": self.variant,
            "inversion_layer": self.layers.inversion,
            "mask_layers": list(self.layers.mask),
            "predictor": self.hidden,
            **self.changes,
            "image_size": self.image_size,
            "seed": self.seed,
        }

    def explain_at_once(self, images: Tensor, target: Target) -> Explanation:
        """One heatmap an image: its mask in [0, 1], with the class's probability under it as its score."""
        return self.explanation_and_result(images, target)[0]

    def explanation_and_result(
        self, images: Tensor, target: Target = None, advance: Callable[[Tensor], None] = ignored
    ) -> tuple[Explanation, InversionResult]:
        """What `explain` gives, beside how the optimisation went; the arguments are those of `explain` and `optimise`."""
        with behind_glass(self.backbone.model), torch.inference_mode(mode=False), torch.no_grad():
            objective, reading, start = self.problem(images, target)
            result = optimise(objective, start, advance)
            probabilities = self._probabilities(objective, result.masks)
        names = [[f"mask of {self.class_name(int(c))}"] for c in reading.classes]
        prediction = reading.logits.argmax(dim=1)
        explanation = Explanation(
            result.masks,
            probabilities[:, None],
            names,
            prediction,
            reading.classes,
            reading.logits,
            aggregation="maximum",
        )
        return explanation, result

    def masks(self, images: Tensor, classes: Tensor) -> Tensor:
        """(B, K, H, W) masks of (B, K) classes, all of which go through the backbone together at each step."""
        rows = torch.arange(len(images), device=images.device).repeat_interleave(classes.shape[1])
        explanation, _ = self.explanation_and_result(images[rows], classes.flatten())
        return explanation.heatmaps.view(*classes.shape, *images.shape[2:])

    def problem(self, images: Tensor, target: Target = None) -> tuple[InversionObjective, Reading, Tensor]:
        """The losses of a batch, what was read in it, and (B, n) ω before the first step, which is what is trained.

        The backbone has to be behind glass.
        """
        images = images.detach().clone(memory_format=torch.channels_last)  # twice as fast on a CPU
        reading = self.network.read(
            images,
            lambda logits: target_classes(target, predicted(logits), logits.shape[1]),
            evidence=self.predictor is not None,
        )
        objective = InversionObjective.of(self.network, self.settings, images, reading, self.seed)
        if self.predictor is None or reading.evidence is None:
            start = reading.activations.new_full(reading.activations.shape[:2], self.settings.start)
        else:
            with without_autocast(images):
                start = self.predictor(reading.evidence)
        return objective, reading, start

    @staticmethod
    def _probabilities(objective: InversionObjective, masks: Tensor) -> Tensor:
        """(B,) of the explained classes, where only what the masks show is left."""
        logits = objective.network.logits(objective.shown(masks))
        return logits.softmax(dim=1).gather(1, objective.classes[:, None]).squeeze(1)
