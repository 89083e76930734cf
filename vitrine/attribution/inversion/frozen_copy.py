"""Frozen copy of a network: its convolutions with their activations as `FrozenConv`, the first one as a `Stem`."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from vitrine.attribution.autograd.backward import noise
from vitrine.attribution.autograd.calls import tensors_in
from vitrine.attribution.base import checked_output
from vitrine.attribution.inversion.frozen_conv import ACTIVATIONS, FrozenConv, can_be_frozen
from vitrine.attribution.inversion.stem import Stem, can_be_stem
from vitrine.backbones.checkpointing import without_checkpointing
from vitrine.core.precision import without_autocast


class Fusions(NamedTuple):
    """What a frozen copy replaces, by dotted names."""

    convolutions: dict[str, str | None]
    """Of each convolution the activation after it, or None."""
    stem: str | None
    """The convolution that alone takes the images."""


NO_FUSIONS = Fusions({}, None)


class FrozenNetwork(NamedTuple):
    """A copy whose parameters are constants."""

    model: nn.Module
    stem: Stem | None
    """Its first convolution, if that alone takes the images."""


class Uses(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts how many operators take each tensor, whoever calls them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count: Counter[int] = Counter()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.count.update(map(id, tensors_in((args, kwargs or {}))))
        return func(*args, **(kwargs or {}))


class _Visit(NamedTuple):
    """One call of a convolution or an activation."""

    name: str
    module: nn.Module
    operand: object
    output: object
    uses: int
    """Of the operand, so far."""


class _Pass(NamedTuple):
    """One forward pass of noise."""

    pixels: Tensor
    visits: list[_Visit]
    uses: Counter[int]
    kept: list[object]


def frozen_copy(
    model: nn.Module, fusions: Fusions, copied: Callable[[nn.Module, dict[nn.Module, nn.Module]], nn.Module]
) -> FrozenNetwork:
    """The copy of a network by what was found in it, or in one of the same structure.

    Args:
        model: with batch norms folded.
        fusions: see `find_fusions`.
        copied: copies a tree of modules, some of them replaced.
    """
    changes: dict[nn.Module, nn.Module] = {}
    stem: Stem | None = None
    for name, activation in fusions.convolutions.items():
        conv = model.get_submodule(name)
        end = None if activation is None else model.get_submodule(activation)
        frozen = FrozenConv(conv, end)  # type: ignore[arg-type]
        changes[conv] = frozen
        if name == fusions.stem:
            changes[conv] = stem = Stem(frozen)
        if end is not None:
            changes[end] = nn.Identity().eval()
    return FrozenNetwork(copied(model, changes), stem) if changes else FrozenNetwork(model, None)


def find_fusions(
    model: nn.Module,
    images: Tensor,
    keep: Sequence[str],
    copied: Callable[[nn.Module, dict[nn.Module, nn.Module]], nn.Module],
) -> Fusions:
    """What can be replaced so that logits, kept outputs and gradients of the images stay the same.

    It is found by a pass of noise and tested by two others, up to the cube root of the type's precision.

    Args:
        model: with batch norms folded; under `eval_guard`, without hooks.
        images: (B, C, H, W); only their size is used.
        keep: dotted names of layers whose outputs are needed.
        copied: as in `frozen_copy`.
    """
    if any(isinstance(m, torch.jit.ScriptModule) or "_dynamo" in type(m).__module__ for m in model.modules()):
        return NO_FUSIONS
    pixels = noise((1, *images.shape[1:]), next((p for p in model.parameters() if p.is_floating_point()), images))
    with torch.inference_mode(mode=False), without_autocast(pixels):
        try:
            fusions = _fusions(_passed(model, pixels, keep))
            wanted = _checked(model, pixels, keep)
            found = _checked(frozen_copy(model, fusions, copied).model, pixels, keep)
        except (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError):
            return NO_FUSIONS  # of a network that reads its convolutions, or changes what they gave in place
    return fusions if len(found) == len(wanted) and all(map(agree, found, wanted)) else NO_FUSIONS


def _passed(model: nn.Module, pixels: Tensor, keep: Sequence[str]) -> _Pass:
    visits, kept, uses = list[_Visit](), list[object](), Uses()

    def recorder(name: str) -> Any:
        def record(module: nn.Module, operands: tuple[Any, ...], output: object) -> None:
            operand = operands[0] if operands else None
            visits.append(_Visit(name, module, operand, output, uses.count[id(operand)]))
            if output is not operand:
                uses.count[id(output)] = 0  # the id may have been that of a freed tensor

        return record

    def keeper(_module: nn.Module, _operands: Any, output: object) -> None:
        kept.append(output)

    traced = [(n, m) for n, m in model.named_modules() if type(m) in {nn.Conv2d, *ACTIVATIONS}]
    hooks = [(model.get_submodule(name), keeper) for name in keep] + [(m, recorder(n)) for n, m in traced]
    with _hooked(hooks), torch.no_grad(), uses:
        model(pixels)
    return _Pass(pixels, visits, uses.count, kept)


def _fusions(traced: _Pass) -> Fusions:
    calls = Counter(visit.module for visit in traced.visits)
    once = [visit for visit in traced.visits if calls[visit.module] == 1]
    convs = [visit for visit in once if isinstance(visit.module, nn.Conv2d) and can_be_frozen(visit.module)]
    found: dict[str, str | None] = {visit.name: None for visit in convs}
    by_output = {id(visit.output): visit for visit in convs}
    for visit in once:
        conv = by_output.get(id(visit.operand))
        if type(visit.module) not in ACTIVATIONS or conv is None or visit.operand is not conv.output:
            continue
        in_place = visit.output is visit.operand
        uses = visit.uses if in_place else traced.uses[id(visit.operand)]
        is_kept = any(output is conv.output for output in traced.kept)
        if uses == 1 and (in_place or not is_kept):
            found[conv.name] = visit.name
    first = [visit for visit in convs if visit.operand is traced.pixels and can_be_stem(visit.module)]
    alone = len(first) == 1 and traced.uses[id(traced.pixels)] == 1
    return Fusions(found, first[0].name if alone else None)


def _checked(model: nn.Module, pixels: Tensor, keep: Sequence[str]) -> list[Tensor]:
    """The logits, the kept outputs, and the gradient of all of them at the pixels."""
    outputs: list[Tensor] = []

    def keeper(_module: nn.Module, _operands: Any, output: object) -> None:
        outputs.extend(tensor.clone() for tensor in tensors_in(output))

    image = pixels.clone().requires_grad_()
    with _hooked([(model.get_submodule(name), keeper) for name in keep]), torch.enable_grad(), without_checkpointing():
        logits = checked_output(model(image.clone()), 1, None)
        sums = [(t * noise(t.shape, t)).sum() for t in [logits, *outputs] if t.is_floating_point()]
        (gradient,) = torch.autograd.grad(sums, [image])
    return [t.detach() for t in (logits, *outputs, gradient)]


@contextmanager
def _hooked(hooks: list[tuple[nn.Module, Any]]) -> Iterator[None]:
    handles = [module.register_forward_hook(hook) for module, hook in hooks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def agree(output: Tensor, expected: Tensor) -> bool:
    """Whether outputs agree up to the cube root of the type's precision, which allows for TF32 on GPUs."""
    bound = expected.abs().max() * torch.finfo(expected.dtype).eps ** (1 / 3)
    return output.shape == expected.shape and bool((output - expected).abs().max() <= bound)
