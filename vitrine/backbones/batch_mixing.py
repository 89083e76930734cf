"""Networks that mix a batch: whether the output of one image depends on the other images that run with it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from vitrine.backbones.guard import eval_guard
from vitrine.backbones.structure import has_hooks

PROBES = 4
"""The most images of a probe, unless the model takes none but larger batches."""
TOLERANCE = 1e-5
"""Difference from which an output depends on the other images, as a share of its largest value."""

PER_IMAGE = {
    *(nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.Identity, nn.Dropout, nn.Dropout2d, nn.Upsample, nn.PixelShuffle),
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU),
    *(nn.SiLU, nn.Hardswish, nn.Sigmoid, nn.Hardsigmoid, nn.Tanh),
    *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
}
"""Layers that treat images one by one in eval mode; batch norms only with running statistics."""
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
LIBRARIES = ("torchvision.models.", "torchvision.ops.")
"""Packages whose modules mix no batch themselves, so that it rests on the layers in them."""

_mixing: WeakKeyDictionary[nn.Module, tuple[tuple[Any, ...], bool]] = WeakKeyDictionary()


def mixes_batch(model: nn.Module, inputs: Tensor, at_most: int | None = None) -> bool:
    """Whether the model's output for an image depends on the other images of its batch.

    So it is with batch norms without running statistics, softmax or attention over the batch, differences from its mean, and
    minibatch standard deviations. What the layers do not tell (those of torchvision's networks do) is found by two passes of
    at most four images each, in which the first and the last image are the same and the others are not, and if these differ,
    by a third pass for what the model's own randomness amounts to; of two images, by two such comparisons. Passes of one size
    round alike, so that half precision needs no tolerance of its own.

    The answer is kept for each model until one of its modules is replaced.

    Args:
        model: maps (B, C, H, W) inputs to a tensor (B, …), or to several in a dict, list, tuple or dataclass. It runs in eval
            mode and is not changed, see `eval_guard`.
        inputs: (B, C, H, W); for fewer than two, nothing runs and the answer is False.
        at_most: the most images that may go through the model at once.

    Returns:
        False also for a model that fails; then the answer is not kept.
    """
    at_most = len(inputs) if at_most is None else at_most
    if min(len(inputs), at_most) < 2:
        return False
    modules = list(model.modules())
    if any(isinstance(module, _BatchNorm) and _has_no_statistics(module) for module in modules):
        return True
    present = tuple((id(module), type(module)) for module in modules)
    known = _mixing.get(model)
    if known is not None and known[0] == present:
        return known[1]
    mixing = False if _is_per_image(model) else _outputs_differ(model, inputs.detach(), at_most)
    if mixing is not None:
        _mixing[model] = present, mixing
    return bool(mixing)


def _has_no_statistics(norm: _BatchNorm) -> bool:
    return norm.running_mean is None or norm.running_var is None


def _is_per_image(module: nn.Module) -> bool:
    """Whether the layers alone tell that images are treated one by one."""
    kind = type(module)
    if "forward" in vars(module) or has_hooks(module):
        return False
    if kind in CONTAINERS or kind.__module__.startswith(LIBRARIES):
        return all(map(_is_per_image, module.children()))
    if isinstance(module, nn.MultiheadAttention):
        return kind is nn.MultiheadAttention and module.batch_first
    return kind in PER_IMAGE or (isinstance(module, nn.Flatten) and module.start_dim == 1)


@torch.no_grad()
def _outputs_differ(model: nn.Module, inputs: Tensor, at_most: int) -> bool | None:
    """Whether outputs of the same images differ by what runs with them; None if the model fails."""
    size = min(len(inputs), PROBES, at_most)
    # A model may take batches of one size alone.
    for images_at_once in dict.fromkeys([size, min(len(inputs), at_most)]):
        try:
            with eval_guard(model), torch.inference_mode(mode=False):
                return any(_rows_differ(model, *batches) for batches in _batches(inputs, images_at_once))
        except torch.OutOfMemoryError:
            raise
        except Exception:  # noqa: BLE001, S112 - a model's own code may raise anything, and will when it is run
            continue
    return None


def _batches(inputs: Tensor, size: int) -> list[tuple[Tensor, Tensor, list[int]]]:
    """Pairs of batches that differ in all rows but the named ones: faint images in the one, strong noise in the other."""
    first, last, faint = inputs[:1], inputs[-1:], inputs[[0, -1]].flip(-1) / 4
    spread = 16 * faint.float().std().clamp(min=0.025)
    noise = torch.randn(faint.shape, generator=torch.Generator().manual_seed(0)).to(spread) * spread
    others = [other.to(inputs).repeat(size, 1, 1, 1) for other in (faint, noise)]
    if size == 2:
        one, two = (other[:1] for other in others)
        return [
            (torch.cat([first, one]), torch.cat([first, two]), [0]),
            (torch.cat([one, last]), torch.cat([two, last]), [1]),
        ]
    one, two = (torch.cat([first, other[: size - 2], last]) for other in others)
    return [(one, two, [0, size - 1])]


def _rows_differ(model: nn.Module, batch: Tensor, other: Tensor, rows: list[int]) -> bool:
    first, second = _outputs(model, batch, rows), _outputs(model, other, rows)
    if not any(map(_differ, first, second)):
        return False
    noise = map(_distance, first, _outputs(model, batch, rows))
    return any(map(_differ, first, second, noise))


def _outputs(model: nn.Module, batch: Tensor, rows: list[int]) -> list[Tensor]:
    """The outputs for some of the images, by a pass that begins with the same random state each time."""
    devices = [batch.device] if batch.is_cuda else []
    with torch.random.fork_rng(devices=devices):
        output = model(batch.clone())  # the first operator may work in place
    found = [tensor.detach()[rows] for tensor in _tensors(output) if tensor.shape[:1] == (len(batch),)]
    return [row if row.dtype == torch.float64 else row.float() for row in found]


def _tensors(output: object) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from _tensors(value)
    elif isinstance(output, Sequence) and not isinstance(output, str):
        for value in output:
            yield from _tensors(value)
    elif hasattr(output, "__dict__"):
        yield from (value for value in vars(output).values() if isinstance(value, Tensor))


def _differ(first: Tensor, second: Tensor, noise: float = 0.0) -> bool:
    largest = float(first.abs().nan_to_num(posinf=0).max()) if first.numel() else 0.0
    return _distance(first, second) > TOLERANCE * largest + 4 * noise


def _distance(first: Tensor, second: Tensor) -> float:
    """The largest difference; infinite where one of two values is not finite, and 0 where both are the same."""
    if not first.numel():
        return 0.0
    same = (first == second) | (first.isnan() & second.isnan())
    return float((first - second).abs().nan_to_num(nan=torch.inf).masked_fill(same, 0).max())
