"""Model parameter randomisation test: whether maps depend on the weights (Adebayo et al., NeurIPS 2018)."""

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from vitrine.attribution.base import checked_output
from vitrine.attribution.sanity.cascade import cascade, evenly_spaced, layers_from_top
from vitrine.attribution.sanity.report import SanityReport
from vitrine.attribution.targets import Indices
from vitrine.backbones.guard import eval_guard
from vitrine.core.image_ops import degenerate
from vitrine.core.options import Count, checked


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Spearman's ρ of each row: the correlation of ranks, with the mean rank for equal values.

    Args:
        first: (B, N).
        second: (B, N).

    Returns:
        (B,) float64 in [−1, 1]; NaN if a row is constant, up to rounding, or holds NaN or infinity.

    Example:
        >>> rank_correlation(torch.tensor([[1.0, 2.0, 9.0]]), torch.tensor([[0.1, 0.2, 0.3]]))
        tensor([1.], dtype=torch.float64)
    """
    # torchmetrics' spearman_corrcoef gives 0 for constants and sums ranks in int32, which overflows for large images.
    correlation = (_standardised(ranks(first)) * _standardised(ranks(second))).sum(dim=1).clamp(-1, 1)
    return correlation.masked_fill(degenerate(first[:, None]) | degenerate(second[:, None]), torch.nan)


def ranks(values: Tensor) -> Tensor:
    """(B, N) float64 ranks from 1 within each row of (B, N) values; equal values get their mean rank."""
    values = values.double().contiguous()
    ordered = values.sort(dim=1).values
    below, upto = (torch.searchsorted(ordered, values, side=side) for side in ("left", "right"))
    return (below + upto + 1) / 2


def _standardised(rows: Tensor) -> Tensor:
    """Rows with mean 0 and norm 1; NaN if a row is constant."""
    centred = rows.double() - rows.double().mean(dim=1, keepdim=True)
    return centred / centred.square().sum(dim=1, keepdim=True).sqrt()


T = TypeVar("T")


class Attributor(Protocol):
    """A `Method`, an `Explainer`, or anything else with such an ``attribute``."""

    def attribute(self, inputs: Tensor, target: Indices | None = None) -> Tensor:
        """(B, C, H, W) or (B, 1, H, W) maps of (B, C, H, W) inputs for a class, one for all inputs or one for each."""


@checked
@torch.inference_mode(mode=False)  # the predicted classes are saved for backward passes
def sanity_check(
    make_method: Callable[[nn.Module], Attributor],
    model: nn.Module,
    inputs: Tensor,
    target: Indices | None = None,
    *,
    stages: Count | None = None,
    seed: int = 0,
    progress: bool = False,
) -> SanityReport:
    """Compares a model's maps with those of copies whose layers are re-initialised one after another from the top.

    This is the cascading model parameter randomisation test of Adebayo et al., "Sanity Checks for Saliency Maps" (NeurIPS
    2018): maps that stay similar do not show what the model has learned. Similarity is Spearman's rank correlation of each
    image's maps before and after, summed over the input's channels, and of the absolute values of these sums. See
    `randomized` for how layers are re-initialised, and in which order.

    Args:
        make_method: makes the method for a model, such as ``GuidedBackprop``, or
            ``functools.partial(GradCAM, layer="layer4")`` with the layer's name; a layer given as a module would not be
            found in the copies.
        model: maps (B, C, H, W) inputs to (B, n) logits. It is not changed.
        inputs: (B, C, H, W) as the model takes them.
        target: the explained class, one for all inputs or one for each; if it is None, the class that the trained model
            predicts, also for its re-initialised copies.
        stages: the most degrees of randomisation, evenly spread from the topmost layer alone to all layers; one for each
            layer if it is None.
        seed: of the new weights.
        progress: whether to show a progress bar on stderr.

    Raises:
        ValueError: if the model uses no parameters or an option is out of range; and whatever the method raises.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from vitrine.attribution import Saliency
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
        >>> report = sanity_check(Saliency, model, torch.rand(2, 3, 8, 8))
        >>> report.layers, report.image_correlation.shape
        (('3', '0'), torch.Size([2, 2]))
    """
    layers = layers_from_top(model, inputs)
    positions = evenly_spaced(len(layers), stages)
    target = predicted(model, inputs) if target is None else target
    intact = flat_maps(make_method(model), inputs, target)
    names, signed, absolute = [], [], []
    for name, copy in _tracked(cascade(model, layers, positions, seed), len(positions), show=progress):
        maps = flat_maps(make_method(copy), inputs, target)
        names.append(name)
        signed.append(rank_correlation(intact, maps))
        absolute.append(rank_correlation(intact.abs(), maps.abs()))
    return SanityReport(tuple(names), torch.stack(signed).cpu(), torch.stack(absolute).cpu())


def predicted(model: nn.Module, inputs: Tensor) -> Tensor:
    """(B,) classes with the highest logits."""
    with eval_guard(model), torch.no_grad():
        return checked_output(model(inputs), len(inputs), None).argmax(dim=1)


def flat_maps(method: Attributor, inputs: Tensor, target: Indices) -> Tensor:
    """(B, H·W) maps summed over channels; several maps of an image are concatenated."""
    return method.attribute(inputs, target).detach().double().sum(dim=-3).flatten(1)


def _tracked(stages: Iterable[T], count: int, *, show: bool) -> Iterable[T]:
    return track(stages, "sanity check", count, console=Console(stderr=True), disable=not show)
