"""Layers whose channels a mask may be a sum of."""

from torch import Tensor, nn

from vitrine.attribution.autograd.backward import Visit, forward_trace
from vitrine.attribution.inversion import inversion_layers
from vitrine.attribution.inversion.layers import stage_layers
from vitrine.attribution.layouts import channels_first, layout_of_map
from vitrine.backbones.guard import eval_guard

_PASSED_OVER = (nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm, nn.Dropout)  # noqa: SLF001 - no public name
"""A mask cuts negative values, so that these give what the activation behind them does."""


def mask_layers(model: nn.Module, images: Tensor, last: int) -> list[str]:
    """Candidates for l₁, in the order in which they run: the paper's, the last of every resolution, and the last few.

    Args:
        model: in eval mode.
        images: (B, C, H, W); their size counts.
        last: how many blocks and activations before l₀, and l₀ itself, are candidates.
    """
    with eval_guard(model):
        layers = inversion_layers(model, images)
        visits = forward_trace(model, images).last_of_each()
        found = [*layers.mask, *stage_layers(model, images, layers.inversion)]
    end = next(place for place, visit in enumerate(visits) if visit.layer == layers.inversion)
    before = [visit for visit in visits[: end + 1] if _may_be_summed(model, visit, images)]
    found += [visit.layer for visit in _without_wholes(before)[-last:]] if last else []
    return _one_of_same([visit for visit in visits if visit.layer in found], layers.mask[0])


def _may_be_summed(model: nn.Module, visit: Visit, images: Tensor) -> bool:
    is_map = layout_of_map(visit.shape, images.shape[1:]) is channels_first and max(visit.shape[2:]) > 1
    return is_map and visit.layer.count(".") <= 1 and not isinstance(model.get_submodule(visit.layer), _PASSED_OVER)


def _without_wholes(visits: list[Visit]) -> list[Visit]:
    """Those with no part among the others."""
    names = [visit.layer for visit in visits]
    return [visit for visit in visits if not any(name.startswith(f"{visit.layer}.") for name in names)]


def _one_of_same(visits: list[Visit], kept: str) -> list[str]:
    """One name of each tensor: ``kept`` where it is among them, and else the outermost."""
    named: dict[object, list[str]] = {}
    for visit in visits:
        named.setdefault(visit.edge[:2], []).append(visit.layer)
    return [kept if kept in same else min(same, key=lambda name: name.count(".")) for same in named.values()]
