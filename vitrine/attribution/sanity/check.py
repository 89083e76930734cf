"""The sanity check: whether a method's maps depend on the weights at all (Adebayo et al., NeurIPS 2018)."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from vitrine import attribution
from vitrine.attribution.base import Method, checked_output
from vitrine.attribution.sanity.cascade import cascade, layers_from_top, spread
from vitrine.attribution.sanity.report import SanityReport
from vitrine.backbones.guard import eval_guard


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Spearman's ρ of each row: the correlation of ranks, where equal values share their mean rank.

    Args:
        first: (B, N).
        second: (B, N).

    Returns:
        (B,) float64 in [−1, 1]; NaN where a row is constant or holds a value that is not finite.
    """
    # torchmetrics' spearman_corrcoef gives 0 for constants and sums ranks in int32, too few bits for ties in large images.
    one, other = _standardised(ranks(first)), _standardised(ranks(second))
    correlation = (one * other).sum(dim=1).clamp(-1, 1)
    return correlation.where(first.isfinite().all(dim=1) & second.isfinite().all(dim=1), torch.nan)


def ranks(values: Tensor) -> Tensor:
    """(B, N) float64 ranks, from 1, within each row of (B, N) values; equal values share their mean rank."""
    values = values.double().contiguous()
    ordered = values.sort(dim=1).values
    below, upto = (torch.searchsorted(ordered, values, side=side) for side in ("left", "right"))
    return (below + upto + 1) / 2


def _standardised(rows: Tensor) -> Tensor:
    """Rows of mean 0 and norm 1; NaN where a row is constant."""
    centred = rows.double() - rows.double().mean(dim=1, keepdim=True)
    return centred / centred.square().sum(dim=1, keepdim=True).sqrt()


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
    with eval_guard(model), torch.no_grad():
        return checked_output(model(inputs), len(inputs), None).argmax(dim=1)


def flat_maps(method: Attributor, inputs: Tensor, target: Target) -> Tensor:
    """(B, H·W) maps, summed over channels; several of an image one after another."""
    return method.attribute(inputs, target).detach().double().sum(dim=-3).flatten(1)


def _tracked(stages: Iterable[T], count: int, *, show: bool) -> Iterable[T]:
    return track(stages, "sanity check", count, console=Console(stderr=True), disable=not show)


def method_names() -> list[str]:
    """Names of the attribution methods that this package exports."""
    exported = ((name, getattr(attribution, name)) for name in attribution.__all__)
    return sorted(name for name, value in exported if _is_method(value))


def method_named(name: str) -> type[Method]:
    """An attribution method's class.

    Raises:
        ValueError: for an unknown name, with the nearest ones.
    """
    known = method_names()
    if name not in known:
        near = difflib.get_close_matches(name, known) or known
        raise ValueError(f"There is no attribution method named {name!r}; near names: {', '.join(near)}.")
    method: type[Method] = getattr(attribution, name)
    return method


def _is_method(value: object) -> bool:
    return inspect.isclass(value) and issubclass(value, Method) and not inspect.isabstract(value)
