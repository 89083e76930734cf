"""The network of an inversion mask: activations and gradients at l₁, features at l₀, and scores of classes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vitrine.attribution.autograd.gating import GatingInterception
from vitrine.attribution.autograd.gradient_flow import check_gradient, differentiating, leads_to
from vitrine.attribution.autograd.loss_scaling import scaled_gradients
from vitrine.attribution.autograd.rules import guided_rules
from vitrine.attribution.base import checked_output
from vitrine.attribution.inversion.folded import FoldedCopy
from vitrine.attribution.inversion.layers import InversionLayers
from vitrine.attribution.inversion.mask import MaskMaps
from vitrine.attribution.inversion.settings import InversionSettings
from vitrine.attribution.inversion.stem import First, Stem, given
from vitrine.attribution.layouts import layout_of_layer
from vitrine.backbones.checkpointing import without_checkpointing
from vitrine.backbones.taps import captured
from vitrine.core.precision import in_full
from vitrine.core.probabilities import class_log_probabilities, class_probabilities

ClassesOf = Callable[[Tensor], Tensor]
"""Maps (B, C) logits to the (B,) classes to explain."""


class Reading(NamedTuple):
    """The outputs of one forward pass of the images without masks; they carry no gradient."""

    maps: MaskMaps
    """Feature maps of the layers l₁."""
    features: Tensor
    """(B, …) output of the layer l₀."""
    logits: Tensor
    """(B, C)."""
    classes: Tensor
    """(B,) int64: the classes to explain."""
    evidence: Tensor | None
    """(B, n, 4) evidence of each channel for the class (see `channel_evidence`); None if it was not asked for."""


def predicted(logits: Tensor) -> Tensor:
    """(B,) classes of the highest logits."""
    return logits.argmax(dim=1)


class InvertedNetwork:
    """A classifier with the layers of an inversion mask; it runs under the autocast that is on.

    As it runs hundreds of times, images go through a copy with folded batch norms, see `FoldedCopy`.

    Args:
        model: maps (B, 3, H, W) images to (B, C) logits; under `eval_guard`.
        layers: l₀ and l₁.
        settings: which maps a mask is a sum of, and the score of a class.
    """

    def __init__(self, model: nn.Module, layers: InversionLayers, settings: InversionSettings) -> None:
        self.model = model
        self.layers = layers
        self.settings = settings
        self.multi_label = False
        """Whether an image may have several classes, each with a probability of its own."""
        self.names = list(dict.fromkeys([*layers.mask, layers.inversion]))
        self.copy = FoldedCopy(model, self.names)

    def read(self, images: Tensor, classes_of: ClassesOf = predicted, *, evidence: bool = False) -> Reading:
        """Runs the images without masks.

        Negative activations are set to 0, as by a ReLU: a mask shows where a channel is active.

        Args:
            images: (B, 3, H, W).
            classes_of: maps (B, C) logits to the (B,) classes to explain; the predicted ones by default.
            evidence: whether to compute the evidence for them, which costs a backward pass from the logits to l₁.
        """
        self.copy.renew()
        model = self.copy.of(images)
        kind, gate = self.settings.maps, self.settings.gate
        backward = evidence or kind != "activations"
        interception = GatingInterception(guided_rules(), "InversionMask") if kind == "guided" else nullcontext()
        layers = [*self.layers.mask, self.layers.inversion] if gate else list(self.layers.mask)
        gradients_on = differentiating(self.model) if backward else torch.no_grad()
        with gradients_on, tapped(model, self.names, needs_gradient=backward) as outputs:
            with interception:
                # A copy, as the first operator may work in place.
                logits = in_full(checked_output(model(images.clone()), len(images), None))
            if isinstance(interception, GatingInterception):
                interception.check(logits)
            classes = classes_of(logits.detach())
            taps = [outputs[name] for name in layers]
            if backward and not any(leads_to(logits, output) for output in outputs.values()):
                check_gradient(logits, taps[-1], self.model, images)
            gradients = gradients_at(taps, logits, classes) if backward else [None] * len(taps)
        spatial = [self._spatial(*tap, images) for tap in zip(layers, taps, gradients, strict=True)]
        maps = [f if kind == "activations" or g is None else (g * f).clamp(min=0) for f, g in spatial]
        count = len(self.layers.mask)
        top = maps[-1].sum(dim=1, keepdim=True) if gate else None
        return Reading(
            MaskMaps.of(maps[:count], top, gate, self.settings.smoothing),
            outputs[self.layers.inversion].detach(),
            logits.detach(),
            classes,
            torch.cat([channel_evidence(f, g) for f, g in spatial[:count] if g is not None], dim=1)
            if evidence
            else None,
        )

    def _spatial(
        self, name: str, output: Tensor, gradient: Tensor | None, images: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """(B, n, h, w) activations ≥ 0 and gradients of a layer."""
        layout = layout_of_layer(self.model, name, output, images)
        activations = in_full(layout(output.detach())).clamp(min=0)
        return activations, None if gradient is None else in_full(layout(gradient))

    def stem_of(self, images: Tensor) -> Stem | None:
        """The first convolution, if it takes masks in the place of images, see `Stem`."""
        return self.copy.frozen(images).stem

    def features(self, images: Tensor, first: First | None = None) -> Tensor:
        """f^{l₀} of the images, with gradient; ``first`` is what the stem gives of them, if they are not in the graph."""
        model = self._model(images)
        with (
            without_checkpointing(),
            _beginning_with(first),
            captured(model, [self.layers.inversion]) as outputs,
        ):  # `read` also gets it before an in-place ReLU
            model(images)
        self._check(outputs[self.layers.inversion], images, first, self.layers.inversion)
        return outputs[self.layers.inversion]

    def logits(self, images: Tensor, first: First | None = None) -> Tensor:
        """(R, C), in float32 or wider; the arguments are those of `features`."""
        with without_checkpointing(), _beginning_with(first):
            logits = in_full(checked_output(self._model(images)(images), len(images), None))
        self._check(logits, images, first)
        return logits

    def _model(self, images: Tensor) -> nn.Module:
        """The copy for passes with gradients, which takes some passes to make, or the other one."""
        return self.copy.frozen(images).model if torch.is_grad_enabled() else self.copy.of(images)

    def _check(self, output: Tensor, images: Tensor, first: First | None, layer: str | None = None) -> None:
        """Raises ValueError if no gradient leads from an output to images that were masked."""
        begins = images if first is None else first.masks
        if torch.is_grad_enabled() and begins.requires_grad:
            check_gradient(output, begins, self.model, images, layer)

    def scores(self, images: Tensor, classes: Tensor, first: First | None = None) -> Tensor:
        """(R,) scores of (R,) classes; the other arguments are those of `features`."""
        logits = self.logits(images, first)
        score = self.settings.score
        if score == "probability":
            logits = class_probabilities(logits, multi_label=self.multi_label)
        elif score == "log_probability":
            logits = class_log_probabilities(logits, multi_label=self.multi_label)
        elif score == "sigmoid":
            logits = logits.sigmoid()
        return logits.gather(1, classes[:, None]).squeeze(1)


def gradients_at(taps: list[Tensor], logits: Tensor, classes: Tensor) -> list[Tensor]:
    """Gradients of the logit of each image's class at the taps; zeros if it does not depend on a tap."""
    of_classes = logits.gather(1, classes[:, None])
    gradients = scaled_gradients([of_classes], taps, [torch.ones_like(of_classes)], allow_unused=True)
    return [torch.zeros_like(tap) if g is None else g for tap, g in zip(taps, gradients, strict=True)]


def channel_evidence(maps: Tensor, gradients: Tensor) -> Tensor:
    """(B, n, 4) evidence: the mean and maximum of each channel f, and the means of the gradient g of a logit and of g ∘ f.

    Each of the four is divided by its mean absolute value over the layer's channels.

    Args:
        maps: (B, n, h, w) f ≥ 0.
        gradients: (B, n, h, w) g.
    """
    places = (2, 3)
    columns = [
        maps.mean(dim=places),
        maps.amax(dim=places),
        gradients.mean(dim=places),
        (gradients * maps).mean(dim=places),
    ]
    stacked = torch.stack(columns, dim=2)
    size = stacked.abs().mean(dim=1, keepdim=True)
    return stacked / size.where(size > 0, torch.ones_like(size))


def _beginning_with(first: First | None) -> AbstractContextManager[None]:
    return nullcontext() if first is None else given(first.outputs)


@contextmanager
def tapped(model: nn.Module, layers: Sequence[str], *, needs_gradient: bool) -> Iterator[dict[str, Tensor]]:
    """A context that collects the outputs of layers; with ``needs_gradient``, the graph begins at the first of them."""
    outputs: dict[str, Tensor] = {}

    def recorder(name: str) -> Any:
        def record(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            if not isinstance(output, Tensor):
                raise ValueError(
                    f"Layer {name!r} gives a {type(output).__name__}, not a tensor; choose a layer within it."
                )
            outputs[name] = output if output.requires_grad else output.detach().requires_grad_(needs_gradient)
            return outputs[name].clone()  # a following in-place operator does not change the tap

        return record

    handles = [model.get_submodule(name).register_forward_hook(recorder(name)) for name in layers]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
