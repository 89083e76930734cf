"""Inversion masks: one class-discriminative mask an image (Du, Liu, Song and Hu, KDD 2018)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import torch
from torch import Tensor
from typing_extensions import override

from vitrine.attribution.inversion import (
    InversionLayers,
    InversionObjective,
    InversionProblem,
    InversionResult,
    InversionSettings,
    InvertedNetwork,
    Reading,
    WeightPredictor,
    layers_that_work,
    make_problem,
    no_progress,
    optimise,
    predicted,
    refusal_of_layers,
    settings_of,
    tried,
)
from vitrine.attribution.inversion.settings import Maps, Variant
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.guard import eval_guard
from vitrine.backbones.image_sizes import USUAL, blank_image, check_size, refusal_of_size
from vitrine.core.explanation import Explanation
from vitrine.core.heatmap_texts import HeatmapTexts
from vitrine.core.options import Count, CountOrZero, OptionError, Options
from vitrine.core.probabilities import class_probabilities
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers.base import Explainer, Target, target_classes


@dataclass(frozen=True)
class InversionOptions(Options):
    """Which masks are optimised, and whether their channel weights are predicted.

    Args:
        variant: the settings to start from: ``smooth`` or ``fine``, ours, which take a forward and a backward pass of an
            image; ``paper``, of 80 steps; ``released``, what the authors' code does; see
            `vitrine.attribution.inversion.VARIANTS`.
        overrides: what differs from the variant, by the names of `InversionSettings`, such as ``{class_steps: 10}``.
        inversion_layer: l₀; without it the last map or patch grid of the network, see `inversion_layers`.
        mask_layers: l₁; with several, the mask is a sum of all their channels.
        predictor: hidden units of the predictor of ω; 0 for none.
        image_size: side of the backbone's input in pixels, used once to find its layers.
        seed: of the background ``noise``.

    Example:
        >>> InversionOptions(variant="fine", overrides={"class_steps": 10}).settings.class_steps
        10
    """

    variant: Variant = "smooth"
    overrides: Mapping[str, Any] = field(default_factory=dict)
    inversion_layer: str | None = None
    mask_layers: Sequence[str] = ()
    predictor: CountOrZero = 0
    image_size: Count = 224
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.settings.check_predictor(wanted=self.predictor > 0)

    @property
    def settings(self) -> InversionSettings:
        """The variant's settings with the overrides."""
        return settings_of(self.variant, **self.overrides)

    @classmethod
    @override
    def path_of(cls, name: str) -> str | None:
        setting = InversionSettings.path_of(name)
        return super().path_of(name) if setting is None else f"overrides.{setting}"

    @classmethod
    @override
    def from_dict(cls, entries: Mapping[str, Any]) -> Self:
        # Explainers saved earlier hold the settings beside the other options, null where they are the variant's.
        settings, renamed = {f.name for f in fields(InversionSettings)}, InversionSettings.RENAMED
        named = {renamed.get(name, name): value for name, value in entries.items()}
        overrides = {name: value for name, value in named.items() if name in settings and value is not None}
        others = {name: value for name, value in named.items() if name not in settings}
        return super().from_dict({**others, "overrides": {**overrides, **entries.get("overrides", {})}})


OTHER_MAPS: Mapping[Maps, Sequence[Maps]] = {"guided": ("gradient", "activations"), "gradient": ("activations",)}
"""What is tried where a network does not give the maps that are asked for."""


class InversionExplainer(Explainer):
    """The mask m = Σ ωᵢ fᵢ of a layer's activation maps under which the network sees the same, and the class.

    ω ≥ 0 is optimised for each image (Algorithms 1 and 2 of the paper); or predicted, by a `WeightPredictor` that is trained
    with the same losses over a data set, as the start of fewer steps or, without any, as the answer itself.

    Args:
        backbone: the frozen classifier.
        options: which masks are optimised, and whether they are predicted.
        classes: names of the backbone's logits.
        preprocessing: how images are prepared for the backbone.

    Raises:
        OptionError: for an image size that the backbone does not take, layers between which there are no masks, and maps that
            it does not give; it names a choice that was tried and works.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from vitrine.backbones import FrozenBackbone
        >>> features = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        >>> model = nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
        >>> few_steps = {"inversion_steps": 2, "class_steps": 3}
        >>> explainer = InversionExplainer(FrozenBackbone(model), InversionOptions(image_size=16, overrides=few_steps))
        >>> explainer.explain(torch.rand(2, 3, 16, 16)).heatmaps.shape
        torch.Size([2, 1, 16, 16])
    """

    options_type = InversionOptions
    texts = HeatmapTexts(
        heatmap="The heatmap is a mask, optimised so that what it keeps of the features still shows the explained class.",
        score="the probability of the class where only the mask is kept",
        percent=True,
    )
    options: InversionOptions

    def __init__(
        self,
        backbone: FrozenBackbone,
        options: InversionOptions | None = None,
        classes: Sequence[str] | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        super().__init__(backbone, options, classes, preprocessing)
        options = self.options
        self.settings = options.settings
        image = self._checked_image(options.image_size)
        with eval_guard(backbone.model):
            self.layers = self._found_layers(image)
            self.network = InvertedNetwork(backbone.model, self.layers, self.settings)
            reading = self._read(image)
        self.num_classes, channels = reading.logits.shape[1], reading.maps.channels
        units = options.predictor
        self.predictor = WeightPredictor(channels, units, start=self.settings.start) if units else None
        self.options = replace(options, inversion_layer=self.layers.inversion, mask_layers=tuple(self.layers.mask))

    def _checked_image(self, side: int) -> Tensor:
        check_size(self.backbone, side)
        return blank_image(self.backbone.model, side)

    def _found_layers(self, image: Tensor) -> InversionLayers:
        options, model = self.options, self.backbone.model
        named = options.inversion_layer, tuple(options.mask_layers)
        try:
            return layers_that_work(model, image, self.settings, *named)
        except ValueError as error:
            # A refusal of what nobody named: in larger images there may be a map.
            side = None if any(named) else self._larger_side(image.shape[-1])
            if side is None:
                raise
            reason = str(error.__cause__ or error).rstrip(".")
            raise OptionError("image_size", image.shape[-1], f"{side}, which works: {reason}") from error

    def _larger_side(self, side: int) -> int | None:
        """The side of larger images in which there are layers; None if none is found."""
        for larger in sorted(size for size in USUAL if size > side):
            if refusal_of_size(self.backbone, larger) is None:
                image = blank_image(self.backbone.model, larger)
                try:
                    layers_that_work(self.backbone.model, image, self.settings)
                except ValueError:
                    continue
                return larger
        return None

    def _read(self, image: Tensor) -> Reading:
        """One pass without masks, by which maps that a network does not give are refused."""
        try:
            return self.network.read(image)
        except ValueError as error:
            for maps in OTHER_MAPS.get(self.settings.maps, ()):
                settings = replace(self.settings, maps=maps)
                if tried(self.backbone.model, image, self.layers, settings):
                    reason = str(error).rstrip(".")
                    raise OptionError(
                        "overrides.maps", self.settings.maps, f"{maps!r}, which works: {reason}"
                    ) from error
            raise

    def check_size(self, side: int) -> None:
        """Makes sure that there are masks of images of side × side pixels, as those of a data set.

        Raises:
            OptionError: of ``image_size`` where the backbone does not take them, or the layers have no places in them.
        """
        image = self._checked_image(side)
        with eval_guard(self.backbone.model):
            refusal = refusal_of_layers(self.backbone.model, image, self.layers, self.settings)
        if refusal is not None:
            own = self.options.image_size
            raise OptionError("image_size", side, f"{own}, for which the layers were found: {refusal.reason}")

    def explain_batch(self, images: Tensor, target: Target) -> Explanation:
        """One heatmap an image: its mask in [0, 1], with the class's probability under it as its score."""
        return self.explanation_and_result(images, target)[0]

    def explanation_and_result(
        self, images: Tensor, target: Target = None, advance: Callable[[Tensor], None] = no_progress
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
            multi_label=self.multi_label,
        )
        return explanation, result

    def masks(self, images: Tensor, classes: Tensor) -> Tensor:
        """(B, K, H, W) masks of (B, K) classes, all of which go through the backbone together at each step."""
        rows = torch.arange(len(images), device=images.device).repeat_interleave(classes.shape[1])
        explanation, _ = self.explanation_and_result(images[rows], classes.flatten())
        return explanation.heatmaps.view(*classes.shape, *images.shape[2:])

    def problem(self, images: Tensor, target: Target = None) -> InversionProblem:
        """The losses of a batch, and ω before the first step, which is what is trained; for a backbone under `eval_guard`."""

        def classes_of(logits: Tensor) -> Tensor:
            # A copy, as indices made in inference mode could not go into a graph.
            return target_classes(target, predicted(logits), logits.shape[1]).clone()

        self.network.multi_label = self.multi_label
        return make_problem(self.network, self.settings, images, classes_of, self.predictor, self.options.seed)

    @staticmethod
    def _probabilities(objective: InversionObjective, masks: Tensor) -> Tensor:
        """(B,) of the explained classes, where only what the masks show is left."""
        logits = objective.network.logits(objective.shown(masks))
        by_label = objective.network.multi_label or objective.settings.score == "sigmoid"
        chances = class_probabilities(logits, multi_label=by_label)
        return chances.gather(1, objective.classes[:, None]).squeeze(1)
