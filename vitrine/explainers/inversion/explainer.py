"""One class-discriminative mask an image, found by guided feature inversion (Du, Liu, Song and Hu, KDD 2018)."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from vitrine.attribution.inversion import (
    InversionObjective,
    InversionProblem,
    InversionResult,
    InvertedNetwork,
    WeightPredictor,
    ignored,
    inversion_layers,
    optimise,
    pose,
    predicted,
    settings_of,
)
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.guard import eval_guard
from vitrine.core.explanation import Explanation
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers.base import Explainer, Target, target_classes


class InversionExplainer(Explainer):
    """The mask m = Σ ωᵢ fᵢ of a layer's activation maps under which the network sees the same, and the class.

    ω ≥ 0 is optimised for each image (Algorithms 1 and 2 of the paper); or predicted, by a `WeightPredictor` that is trained
    with the same losses over a data set, as the start of fewer steps or, without any, as the answer itself.

    Args:
        backbone: the classifier behind glass.
        classes: names of the backbone's logits.
        preprocessing: how images are made ready for the backbone.
        variant: ``paper``; ``released``, what the authors' code does; ``fine`` or ``smooth``, ours. It sets all
            options below that are None.
        inversion_layer: l₀; the paper's for its networks, and the last map for others, see `inversion_layers`.
        mask_layers: l₁; with several, the mask is a sum of all their channels.
        predictor: hidden units of the predictor of ω; 0 for none.
        inversion_steps: see `InversionSettings`, as for all that follow.
        class_steps: see there.
        learning_rate: see there.
        inversion_penalty: γ.
        class_penalty: δ.
        suppression: λ.
        maps: what the mask is a sum of: ``activations``, or their relevance by ``gradient`` or ``guided`` backprop.
        mask_from: l₁ where none is named: the ``paper``'s, the ``inversion_layer`` l₀, all ``stages`` of resolution, or
            the ``finest`` of them alone.
        gate: power of the maps' sum at l₀ that the mask's sum is multiplied by.
        smoothing: σ of a Gaussian over the mask's sum, as a share of its width.
        score: of the class: ``probability``, ``log_probability``, ``sigmoid`` or ``logit``.
        background: ``blur``, ``mean`` or ``noise``.
        tolerance: change of the mask in a step at which it is at rest.
        stop_when_converged: whether an image's steps end there.
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
        maps: str | None = None,
        mask_from: str | None = None,
        gate: float | None = None,
        smoothing: float | None = None,
        score: str | None = None,
        background: str | None = None,
        tolerance: float | None = None,
        stop_when_converged: bool | None = None,
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
            "maps": maps,
            "mask_from": mask_from,
            "gate": gate,
            "smoothing": smoothing,
            "score": score,
            "background": background,
            "tolerance": tolerance,
            "stop_when_converged": stop_when_converged,
        }
        self.variant = variant
        self.settings = settings_of(variant, **self.changes)
        self.image_size = image_size
        self.seed = seed
        image = torch.zeros(1, 3, image_size, image_size)
        weight = next((one for one in backbone.model.parameters() if one.is_floating_point()), image)
        image = image.to(weight)
        with eval_guard(backbone.model):
            self.layers = inversion_layers(
                backbone.model, image, inversion_layer, tuple(mask_layers), mask_from=self.settings.mask_from
            )
            self.network = InvertedNetwork(backbone.model, self.layers, self.settings)
            reading = self.network.read(image)
        self.num_classes, channels = reading.logits.shape[1], reading.maps.channels
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

    def explain_batch(self, images: Tensor, target: Target) -> Explanation:
        """One heatmap an image: its mask in [0, 1], with the class's probability under it as its score."""
        return self.explanation_and_result(images, target)[0]

    def explanation_and_result(
        self, images: Tensor, target: Target = None, advance: Callable[[Tensor], None] = ignored
    ) -> tuple[Explanation, InversionResult]:
        """What `explain` gives, beside how the optimisation went; the arguments are those of `explain` and `optimise`."""
        with eval_guard(self.backbone.model), torch.inference_mode(mode=False), torch.no_grad():
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

    def problem(self, images: Tensor, target: Target = None) -> InversionProblem:
        """The losses of a batch, and ω before the first step, which is what is trained; for a backbone behind glass."""

        def classes_of(logits: Tensor) -> Tensor:
            # A copy, as indices made in inference mode could not go into a graph.
            return target_classes(target, predicted(logits), logits.shape[1]).clone()

        return pose(self.network, self.settings, images, classes_of, self.predictor, self.seed)

    @staticmethod
    def _probabilities(objective: InversionObjective, masks: Tensor) -> Tensor:
        """(B,) of the explained classes, where only what the masks show is left."""
        logits = objective.network.logits(objective.shown(masks))
        chances = logits.sigmoid() if objective.settings.score == "sigmoid" else logits.softmax(dim=1)
        return chances.gather(1, objective.classes[:, None]).squeeze(1)
