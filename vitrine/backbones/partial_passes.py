"""Forward passes that end at a layer: what comes after it is not computed, where the network is known to need no more."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from vitrine.backbones.known_once import known_once
from vitrine.backbones.taps import captured, resolve_layer

LIBRARIES = ("torch.nn.modules.", "torchvision.", "timm.")
"""Packages whose modules run the same layers in the same order for all images of one size."""


class _Reached(Exception):  # noqa: N818 - no error: the way out of a pass
    """All layers have given what they give in a pass."""


def outputs_of(
    model: nn.Module, inputs: Tensor, layers: Sequence[str], *, may_end: Callable[[], bool] = lambda: True
) -> dict[str, Tensor]:
    """The last outputs of layers in a forward pass, which ends with the last of them where nothing after it counts.

    The first pass of a model for each size of the inputs goes through all of it and tells how often it calls each layer.
    Later ones end early if all of the model's modules are of torch, torchvision or timm, whose passes do not depend on what
    is in the images.

    Args:
        model: in eval mode.
        inputs: (B, C, H, W).
        layers: dotted names, at least one.
        may_end: asked where the pass could end.

    Raises:
        ValueError: as `captured`.
    """
    counts: Counter[str] = Counter()
    names = tuple(resolve_layer(model, layer) for layer in layers)
    with captured(model, layers) as outputs:
        if not _is_static(model):
            model(inputs)
            return outputs
        with _counted(model, names, counts):
            calls = known_once(model, ("calls", names, *inputs.shape[1:]), lambda: _full(model, inputs, counts))
            if not counts:
                _until(model, inputs, names, calls, counts, may_end)
    return outputs


def _full(model: nn.Module, inputs: Tensor, counts: Counter[str]) -> Counter[str]:
    model(inputs)
    return Counter(counts)


def _until(
    model: nn.Module,
    inputs: Tensor,
    layers: Sequence[str],
    calls: Counter[str],
    counts: Counter[str],
    may_end: Callable[[], bool],
) -> None:
    def end(*_: object) -> None:
        if counts == calls and may_end():
            raise _Reached

    with ExitStack() as stack:
        for layer in layers:
            stack.callback(model.get_submodule(layer).register_forward_hook(end).remove)
        try:
            model(inputs)
        except _Reached:
            return


@contextmanager
def _counted(model: nn.Module, layers: Sequence[str], counts: Counter[str]) -> Iterator[None]:
    """Within it, calls of layers are counted."""

    def counting(layer: str) -> Any:
        return lambda *_: counts.update([layer])

    with ExitStack() as stack:
        for layer in layers:
            stack.callback(model.get_submodule(layer).register_forward_hook(counting(layer)).remove)
        yield


def _is_static(model: nn.Module) -> bool:
    """Whether the passes of a model do not depend on what is in the images, as far as its classes tell."""
    return all(
        type(module).__module__.startswith(LIBRARIES) and "forward" not in vars(module) for module in model.modules()
    )
