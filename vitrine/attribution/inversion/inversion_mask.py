"""Inversion mask: guided feature inversion as an attribution method (Du, Liu, Song and Hu, KDD 2018)."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.base import Method, batch_slices
from vitrine.attribution.inversion import (
    InversionLayers,
    InvertedNetwork,
    WeightPredictor,
    layers_that_work,
    make_problem,
    optimise,
    settings_of,
)
from vitrine.attribution.inversion.settings import Variant
from vitrine.attribution.targets import Target
from vitrine.backbones.outputs import OutputChoice
from vitrine.core.options import Count, OptionError, checked
from vitrine.core.progress import progress_bar


class InversionMask(Method):
    """Optimises for each input and class the mask m = Σ ωᵢ fᵢ under which the network keeps its features and the class.

    The map is m: (B, 1, H, W) in [0, 1], in float32 or wider. `vitrine.explainers.InversionExplainer` also gives the result
    of the optimisation, and can train a predictor of ω.

    Args:
        model: as in `Method`.
        layer: l₁; see `inversion_layers` for its default, and for l₀.
        variant: ``paper``, ``released`` (as in the authors' code), ``fine`` or ``smooth`` (ours).
        progress: whether to show a progress bar on stderr.
        predictor: of ω before the first step, such as the ``predictor`` of a trained explainer, also for classes that it was
            not trained on; the settings have to be those that it was trained with.
        internal_batch_size: as in `Method`, of masks.
        output: as in `Method`.
        multi_label: whether an image may have several classes; a class's probability is the sigmoid of its logit then.
        changes: to the variant, see `InversionSettings`.

    Raises:
        ValueError: as in `Method`; of ``attribute`` also for a channel.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
        >>> InversionMask(model, inversion_steps=2, class_steps=3).attribute(torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 1, 8, 8])
    """

    handles_batch_size = True
    explains_channels = False
    slow = True
    paper = "Du et al. 2018"
    quick_options: ClassVar[Mapping[str, Any]] = {"inversion_steps": 2, "class_steps": 3}

    @checked
    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        variant: Variant = "paper",
        progress: bool = False,
        predictor: WeightPredictor | None = None,
        *,
        internal_batch_size: Count | None = 16,
        output: OutputChoice | None = None,
        multi_label: bool = False,
        **changes: Any,
    ) -> None:
        super().__init__(model, layer, internal_batch_size=internal_batch_size, output=output)
        self.settings = settings_of(variant, **changes)
        self.settings.check_predictor(wanted=predictor is not None)
        self.progress = progress
        self.predictor = predictor
        self.multi_label = multi_label
        self.network: InvertedNetwork | None = None

    @override
    def maps(self, inputs: Tensor, target: Target) -> Tensor:
        layers = self._layers_for(inputs[:1])
        network = self._network_between(layers)
        classes = self.target_indices(inputs, target)
        image = torch.arange(len(inputs), device=inputs.device).repeat_interleave(classes.shape[1])
        mask_batches = batch_slices(len(image), self.internal_batch_size)
        steps = self.settings.inversion_steps + self.settings.class_steps
        with progress_bar(type(self).__name__, len(mask_batches) * steps, shown=self.progress) as advance:
            masks = [
                self._optimised(network, inputs[image[rows]], classes.flatten()[rows], lambda _loss: advance(1))
                for rows in mask_batches
            ]
        return torch.cat(masks).view(*classes.shape, 1, *inputs.shape[2:])

    def _layers_for(self, images: Tensor) -> InversionLayers:
        try:
            return layers_that_work(self.model, images, self.settings, mask=() if self.layer is None else (self.layer,))
        except OptionError as error:
            if error.name != "mask_layers":
                raise
            raise OptionError("layer", self.layer, error.wanted.replace("['", "'").replace("']", "'")) from error

    def _network_between(self, layers: InversionLayers) -> InvertedNetwork:
        """The network of the last call if it has the same layers: it knows what can be folded, which costs passes to find."""
        if self.network is None or self.network.layers != layers or self.network.model is not self.model:
            self.network = InvertedNetwork(self.model, layers, self.settings)
        self.network.multi_label = self.multi_label
        return self.network

    def _optimised(self, network: InvertedNetwork, images: Tensor, classes: Tensor, advance: Any) -> Tensor:
        objective, _, start = make_problem(network, self.settings, images, lambda _logits: classes, self.predictor)
        return optimise(objective, start, advance).masks
