"""Guided feature inversion as an attribution method (Du, Liu, Song and Hu, KDD 2018)."""

from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.base import Method, Unit
from vitrine.attribution.inversion import (
    InversionLayers,
    InvertedNetwork,
    WeightPredictor,
    inversion_layers,
    optimise,
    pose,
    settings_of,
)
from vitrine.attribution.perturbation.perturbations import parts
from vitrine.core.progress import progress_bar


class InversionMask(Method):
    """Optimises for each input and class the mask m = Σ ωᵢ fᵢ under which the network sees the same, and the class.

    The map is m: (B, 1, H, W) in [0, 1], in float32 or wider. To train a predictor of ω, and for how an optimisation went,
    see `vitrine.explainers.InversionExplainer`.

    Args:
        model: as in `Method`.
        layer: l₁; see `inversion_layers` for what is taken without it, and for l₀.
        variant: ``paper``, ``released`` (what the authors' code does), ``fine`` or ``smooth`` (ours).
        progress: whether to show a progress bar on stderr.
        predictor: of ω before the first step, such as a trained explainer's ``predictor``, which is also good for other
            classes than it was trained on; the settings have to be those that it was trained with.
        internal_batch_size: as in `Method`, of masks.
        changes: to the variant, see `InversionSettings`.

    Raises:
        ValueError: for an unknown layer or word, a number out of range, and of ``attribute`` for a channel.
    """

    bounds_itself = True

    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        variant: str = "paper",
        progress: bool = False,
        predictor: WeightPredictor | None = None,
        *,
        internal_batch_size: int | None = 16,
        **changes: Any,
    ) -> None:
        super().__init__(model, layer, internal_batch_size=internal_batch_size)
        self.settings = settings_of(variant, **changes)
        self.progress = progress
        self.predictor = predictor
        self.network: InvertedNetwork | None = None

    @override
    def maps(self, inputs: Tensor, unit: Unit) -> Tensor:
        if unit.layer is not None:
            raise ValueError(
                "InversionMask explains classes, not channels; use UpsampledActivation or Deconvnet for one."
            )
        layers = inversion_layers(
            self.model, inputs[:1], mask=() if self.layer is None else (self.layer,), mask_from=self.settings.mask_from
        )
        network = self._network_between(layers)
        with torch.no_grad():
            classes = unit.of(
                torch.cat([network.logits(inputs[rows]) for rows in parts(len(inputs), self.internal_batch_size)])
            )
        image = torch.arange(len(inputs), device=inputs.device).repeat_interleave(classes.shape[1])
        at_once = parts(len(image), self.internal_batch_size)
        steps = self.settings.inversion_steps + self.settings.class_steps
        with progress_bar(type(self).__name__, len(at_once) * steps, shown=self.progress) as advance:
            masks = [
                self._optimised(network, inputs[image[rows]], classes.flatten()[rows], lambda _loss: advance(1))
                for rows in at_once
            ]
        return torch.cat(masks).view(*classes.shape, 1, *inputs.shape[2:])

    def _network_between(self, layers: InversionLayers) -> InvertedNetwork:
        """The network of the last call where it will do: it keeps a copy that costs passes to make."""
        if self.network is None or self.network.layers != layers or self.network.model is not self.model:
            self.network = InvertedNetwork(self.model, layers, self.settings)
        return self.network

    def _optimised(self, network: InvertedNetwork, images: Tensor, classes: Tensor, advance: Any) -> Tensor:
        objective, _, start = pose(network, self.settings, images, lambda _logits: classes, self.predictor)
        return optimise(objective, start, advance).masks
