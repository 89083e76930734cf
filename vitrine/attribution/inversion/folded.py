"""A network's private copy that gives the same in less time: batch norms folded into the convolutions before them."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._python_dispatch import TorchDispatchMode

from vitrine.attribution.autograd.backward import noise
from vitrine.attribution.autograd.interception import tensors_in
from vitrine.attribution.base import checked_output
from vitrine.backbones.guard import eval_guard
from vitrine.core.precision import without_autocast

CLONING = (nn.ReLU6, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.SiLU, nn.Mish)
"""Their slopes need the operand, so that autograd first copies it where they are in place; of ``nn.ReLU`` it needs none."""
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def folded(model: nn.Module, images: Tensor, keep: Sequence[str] = ()) -> nn.Module:
    """A copy for many passes through a frozen model; the model itself where a copy would be no faster, or not the same.

    A batch norm is folded into the convolution whose output it alone takes, and ReLU6 and its kin run out of place. This is
    found by a pass of one input of noise, and checked by another: the logits and the kept layers' outputs have to agree to
    the cube root of the type's precision. What is not folded is shared with the model, which stays as it was.

    A model that has a module in train mode, or one with hooks, is given back: hooks of a copy would count or print what
    nobody asked for, and without them it might not be the same.

    Args:
        model: maps (B, C, H, W) images to (B, n) logits.
        images: (B, C, H, W); their size counts.
        keep: dotted names of the layers whose outputs are wanted.

    Raises:
        ValueError: where the model does not give logits.
    """
    if _state(model) is None:
        return model
    pixels = noise((1, *images.shape[1:]), next((p for p in model.parameters() if p.is_floating_point()), images))
    with torch.inference_mode(mode=False), torch.no_grad(), without_autocast(pixels), eval_guard(model):
        wanted, seen = _seen(model, pixels, keep)
        changes = _folds(seen) | _out_of_place(model)
        if not changes:
            return model
        copy = _copy(model, changes)
        found, _ = _seen(copy, pixels, keep)
    return copy if len(found) == len(wanted) and all(map(_agree, found, wanted)) else model


class FoldedCopy:
    """`folded` of a model, made when it is first wanted and again when the model has changed; no pickle or copy holds it.

    What is written to a parameter's ``.data`` is not noticed.

    Args:
        model: as in `folded`.
        keep: as in `folded`.
    """

    def __init__(self, model: nn.Module, keep: Sequence[str]) -> None:
        self.model = model
        self.keep = tuple(keep)
        self._state: list[int] | None = None
        self._copy = model

    def __getstate__(self) -> dict[str, Any]:
        """Without the copy."""
        return vars(self) | {"_state": None, "_copy": self.model}

    def of(self, images: Tensor) -> nn.Module:
        """What (B, C, H, W) images go through."""
        state = _state(self.model)
        if state is None:
            return self.model
        if state != self._state:
            self._copy, self._state = folded(self.model, images, self.keep), state
        return self._copy


def _state(model: nn.Module) -> list[int] | None:
    """What changes when a parameter or a buffer does; None where a module is in train mode or has hooks."""
    state: list[int] = []
    for module in model.modules():
        if module.training or any(getattr(module, hooks) for hooks in HOOKS):
            return None
        for held in (module._parameters, module._buffers):  # noqa: SLF001 - parameters() takes longer than all of this
            for tensor in held.values():
                if tensor is not None:
                    state += tensor.data_ptr(), tensor._version  # noqa: SLF001
    return state


class _Visit(NamedTuple):
    """One call of a convolution or a batch norm."""

    module: nn.Module
    operand: object
    output: Tensor


class _Seen(NamedTuple):
    """What became of the outputs of convolutions in a forward pass."""

    visits: list[_Visit]
    uses: Counter[int]
    """By ``id``, how many operators took a tensor of the visits."""
    kept: list[object]
    """Outputs of the kept layers, the very tensors."""


class _Uses(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts how often operators take a tensor, whoever calls them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count: Counter[int] = Counter()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.count.update(map(id, tensors_in((args, kwargs or {}))))
        return func(*args, **(kwargs or {}))


def _seen(model: nn.Module, pixels: Tensor, keep: Sequence[str]) -> tuple[list[Tensor], _Seen]:
    """The logits and copies of the kept outputs, and what was seen on the way."""
    visits, kept, values = list[_Visit](), list[object](), list[Tensor]()
    uses = _Uses()

    def see(module: nn.Module, operands: tuple[Any, ...], output: Tensor) -> None:
        visits.append(_Visit(module, operands[0] if operands else None, output))
        uses.count[id(output)] = 0  # before, it was that of a tensor which is gone

    def keep_it(_module: nn.Module, _operands: Any, output: Any) -> None:
        kept.append(output)
        values.extend(tensor.clone() for tensor in tensors_in(output))

    seen = [module for module in model.modules() if type(module) in {nn.Conv2d, nn.BatchNorm2d}]
    handles = [model.get_submodule(name).register_forward_hook(keep_it) for name in keep]
    handles += [module.register_forward_hook(see) for module in seen]
    try:
        with uses:
            logits = checked_output(model(pixels), 1, None)
    finally:
        for handle in handles:
            handle.remove()
    return [logits, *values], _Seen(visits, uses.count, kept)


def _folds(seen: _Seen) -> dict[nn.Module, nn.Module]:
    """What takes the place of convolutions and of their batch norms."""
    calls = Counter(visit.module for visit in seen.visits)
    once = [visit for visit in seen.visits if calls[visit.module] == 1]
    made = {id(visit.output): visit.module for visit in once if isinstance(visit.module, nn.Conv2d)}
    changes: dict[nn.Module, nn.Module] = {}
    for norm, operand, _ in once:
        conv = made.get(id(operand))
        if conv is None or not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None:
            continue
        if seen.uses[id(operand)] == 1 and not any(output is operand for output in seen.kept):
            changes[conv] = fuse_conv_bn_eval(conv, norm).requires_grad_(requires_grad=False)
            changes[norm] = nn.Identity().eval()
    return changes


def _out_of_place(model: nn.Module) -> dict[nn.Module, nn.Module]:
    changes: dict[nn.Module, nn.Module] = {}
    for module in model.modules():
        if isinstance(module, CLONING) and module.inplace:
            changes[module] = copied = _copy(module, {})
            vars(copied)["inplace"] = False
    return changes


def _copy(module: nn.Module, changes: Mapping[nn.Module, nn.Module]) -> nn.Module:
    """Of the tree of modules, with some of them changed; parameters and buffers are shared."""
    made = dict(changes)

    def copied(one: nn.Module) -> nn.Module:
        if one not in made:
            made[one] = twin = object.__new__(type(one))
            # A deep copy would double the weights, and could fail on what a model holds beside them.
            vars(twin).update(
                {name: held.copy() if isinstance(held, dict) else held for name, held in vars(one).items()}
            )
            children = one._modules.items()  # noqa: SLF001 - named_children() leaves out a module's second place
            vars(twin)["_modules"] = {name: None if child is None else copied(child) for name, child in children}
        return made[one]

    return copied(module)


def _agree(found: Tensor, wanted: Tensor) -> bool:
    """To the cube root of the type's precision, which also holds where a GPU multiplies in fewer bits."""
    bound = wanted.abs().max() * torch.finfo(wanted.dtype).eps ** (1 / 3)
    return found.shape == wanted.shape and bool((found - wanted).abs().max() <= bound)
