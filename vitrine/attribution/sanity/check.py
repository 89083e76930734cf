"""Do an attribution method's maps depend on the weights of the model that they explain?"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from vitrine.attribution.base import checked_output
from vitrine.attribution.sanity.cascade import cascade, layers_from_top, spread
from vitrine.attribution.sanity.ranks import rank_correlation
from vitrine.attribution.sanity.report import SanityReport
from vitrine.glass import behind_glass

T = TypeVar("T")
Target = int | Sequence[int] | Tensor


class Attributor(Protocol):
    """What gives maps: a `Method`, or an `Explainer`."""

    def attribute(self, inputs: Tensor, target: Target | None = None) -> Tensor:
        """(B, C, H, W) or (B, 1, H, W) maps of (B, C, H, W) inputs for a class, one for all or one an input."""


@torch.inference_mode(mode=False)  # else the predicted classes could not be saved for a backward pass
def sanity_check(
    make_method: Callable[[nn.Module], Attributor],
    model: nn.Module,
    inputs: Tensor,
    target: Target | None = None,
    *,
    stages: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> SanityReport:
    """Compares a model's maps with those of the same model as its layers are re-drawn one after another from the top.

    This is the model parameter randomisation test of Adebayo et al., "Sanity Checks for Saliency Maps" (NeurIPS 2018),
    cascading: maps that stay alike do not show what the model has learned. Alike is measured by Spearman's rank
    correlation of each image's map before and after, of the map summed over the input's channels, and of the absolute
    value of that sum. See `randomized` for how layers are re-drawn, and in which order.

    Args:
        make_method: makes the method for a model, such as ``GuidedBackprop``, or
            ``functools.partial(GradCAM, layer="layer4")`` with the layer's name; a layer given as a module would not be
            found in the copies.
        model: maps (B, C, H, W) inputs to (B, n) logits. It is left as it is.
        inputs: (B, C, H, W) as the model takes them.
        target: the explained class, one for all or one an input; without it, the one that the model predicts as it
            is, also for its re-drawn copies.
        stages: at most so many degrees of randomisation, evenly spread, with the topmost layer alone and all layers among
            them; one a layer without it.
        seed: of the re-drawn weights.
        progress: whether to draw a bar on standard error.

    Raises:
        ValueError: where the model uses no parameters or ``stages`` is less than 1, and what the method raises.
    """
    layers = layers_from_top(model, inputs)
    shown = spread(len(layers), stages)
    target = predicted(model, inputs) if target is None else target
    intact = flat_maps(make_method(model), inputs, target)
    names, signed, absolute = [], [], []
    for name, copy in _tracked(cascade(model, layers, shown, seed), len(shown), show=progress):
        maps = flat_maps(make_method(copy), inputs, target)
        names.append(name)
        signed.append(rank_correlation(intact, maps))
        absolute.append(rank_correlation(intact.abs(), maps.abs()))
    return SanityReport(tuple(names), torch.stack(signed).cpu(), torch.stack(absolute).cpu())


def predicted(model: nn.Module, inputs: Tensor) -> Tensor:
    """(B,) the class with the highest logit."""
    with behind_glass(model), torch.no_grad():
        return checked_output(model(inputs), len(inputs), None).argmax(dim=1)


def flat_maps(method: Attributor, inputs: Tensor, target: Target) -> Tensor:
    """(B, H·W) maps, summed over channels; several of an image one after another."""
    return method.attribute(inputs, target).detach().double().sum(dim=-3).flatten(1)


def _tracked(stages: Iterable[T], count: int, *, show: bool) -> Iterable[T]:
    return track(stages, "sanity check", count, console=Console(stderr=True), disable=not show)
