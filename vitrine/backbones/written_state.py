"""State that a model's own forward pass writes, parameters, buffers, flags and tensors: put back afterwards."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from vitrine.backbones.copying import refuse_uninitialised
from vitrine.backbones.model_parts import ModelParts
from vitrine.backbones.plain_attributes import PlainAttributes


@dataclass
class _Seen:
    """What a model's forward passes were seen to write, once one has run."""

    parameters: bool = False
    buffers: bool = False
    """Or attributes."""


_seen: WeakKeyDictionary[nn.Module, _Seen] = WeakKeyDictionary()


@contextmanager
def written_state_restored(model: nn.Module, parts: ModelParts, *, attributes: bool = True) -> Iterator[None]:
    """Afterwards every parameter and buffer of the model has the value from before, and is the same tensor.

    A model may write in evaluation too: running means, ranges of fake quantisation, ``F.batch_norm(training=True)``, scales
    that its first batch sets, low-rank layers that are merged by ``eval()``. Buffers are copied each time. Parameters are
    copied until a forward pass of the model has shown that it does not write, and where changing its mode runs code of
    its own. Passes without gradients that write start from the same values each. Flags and tensors that are
    plain attributes are as before too.

    Args:
        model: the network to look into.
        parts: of the model.
        attributes: whether plain attributes are put back; not of what is more than a network, such as a training module.

    Raises:
        ValueError: for a parameter without values yet; and where a parameter was written to that was not copied.
    """
    if any(is_lazy(tensor) or tensor.is_meta for tensor in (*parts.parameters, *parts.buffers)):
        refuse_uninitialised(model)
    state = _State(model, parts, attributes=attributes)
    ran: list[bool] = []
    stop_watching = _watch(model, state, ran)
    try:
        yield
    finally:
        stop_watching()
        _note(model, state.restore(), ran)
    state.refuse_lost()


def is_known_not_to_write(model: nn.Module) -> bool:
    """Whether forward passes of the model were watched, and none wrote to its state."""
    return _seen.get(model) == _Seen()


def _note(model: nn.Module, written: _Seen, ran: list[bool]) -> None:
    if ran or written.parameters or written.buffers:
        before = _seen.get(model, _Seen())
        _seen[model] = _Seen(before.parameters or written.parameters, before.buffers or written.buffers)


def _watch(model: nn.Module, state: "_State", ran: list[bool]) -> Callable[[], None]:
    """Watches the model's passes unless it is known not to write; returns what ends it."""
    if is_known_not_to_write(model) or isinstance(model, torch.jit.ScriptModule):
        return lambda: None

    def after(*_: object) -> None:
        ran.append(True)
        # A graph may need what was written, so with gradients the values are put back at the end alone.
        if not torch.is_grad_enabled():
            _note(model, state.restore(), ran)

    return model.register_forward_hook(after).remove


class _State:
    def __init__(self, model: nn.Module, parts: ModelParts, *, attributes: bool) -> None:
        plain = parts.plain_modules
        self.model = model
        self.buffer_tables = [(module._buffers, dict(module._buffers)) for module in plain]  # noqa: SLF001
        self.parameter_tables = [(module._parameters, dict(module._parameters)) for module in plain]  # noqa: SLF001
        self.module_tables = [(module._modules, dict(module._modules)) for module in plain]  # noqa: SLF001
        self.attributes = PlainAttributes(plain if attributes else [])
        self.buffers = [(one, _copy(one)) for one in (*parts.buffers, *self.attributes.tensors)]
        seen = _seen.get(model, _Seen(parameters=True))
        copied = seen.parameters or any(map(changes_mode_itself, parts.modules))
        self.parameters = [(one, _copy(one)) for one in parts.parameters] if copied else []
        self.versions = [] if copied else [(one, _version(one)) for one in parts.parameters]

    def restore(self) -> _Seen:
        """Puts tensors and values back; says which had changed."""
        if self._is_built_further():
            # A model that makes layers in its first pass keeps them, and what it notes of them.
            return _Seen(_put_back([], self.parameters), _put_back([], self.buffers))
        parameters = _put_back(self.parameter_tables, self.parameters)
        moved = self.attributes.put_back()
        return _Seen(parameters, _put_back(self.buffer_tables, self.buffers) or moved)

    def _is_built_further(self) -> bool:
        """Whether a module has got submodules or parameters that it did not have."""
        layers = any(len(table) > len(before) for table, before in self.module_tables)
        return layers or any(len(table) > len(before) for table, before in self.parameter_tables)

    def refuse_lost(self) -> None:
        """Raises ValueError where a parameter that was not copied has changed."""
        for parameter, version in self.versions:
            if _version(parameter) != version:
                name = next(name for name, one in self.model.named_parameters() if one is parameter)
                raise ValueError(
                    f"The model wrote to its parameter {name!r} while it was explained, and had not done so before; load its"
                    " weights again, and make it compute the same in eval mode at every call."
                )


Table = dict[str, Any]
"""Tensors of a module by name, None where there is none."""


def _put_back(tables: Iterable[tuple[Table, Table]], copies: Iterable[tuple[Tensor, Tensor]]) -> bool:
    """Gives tables their tensors of before, and these their values; returns whether anything differed."""
    moved = [(table, before) for table, before in tables if not _same_entries(table, before)]
    for table, before in moved:
        table.clear()
        table.update(before)
    written = _differing(copies)
    for tensor, copy in written:
        with torch.inference_mode(tensor.is_inference()), torch.no_grad():
            tensor.copy_(copy)
    return bool(moved or written)


def changes_mode_itself(module: nn.Module) -> bool:
    """Whether a module's ``train()`` or ``eval()`` is not that of ``nn.Module``, such as a layer that merges weights."""
    kind = type(module)
    overridden = kind.train is not nn.Module.train or kind.eval is not nn.Module.eval
    # The methods of a ScriptModule are those of nn.Module under other objects.
    return (overridden and not issubclass(kind, torch.jit.ScriptModule)) or not {"train", "eval"}.isdisjoint(
        vars(module)
    )


def _same_entries(table: Table, before: Table) -> bool:
    return len(table) == len(before) and all(table.get(name) is tensor for name, tensor in before.items())


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().clone()


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version  # noqa: SLF001 - the only trace of a write


def _differing(copies: Iterable[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """Those whose values differ; on a GPU all are compared before the first answer is waited for."""
    copies = list(copies)
    on_host = [pair for pair in copies if not pair[0].is_cuda]
    on_device = [pair for pair in copies if pair[0].is_cuda]
    found = [pair for pair in on_host if not _equal(*pair)]
    if on_device:
        flags = torch.stack([_any_difference(*pair) for pair in on_device]).tolist()
        found += [pair for pair, differs in zip(on_device, flags, strict=True) if differs]
    return found


def _equal(tensor: Tensor, copy: Tensor) -> bool:
    with suppress(NotImplementedError, RuntimeError):  # sparse tensors cannot be compared
        return torch.equal(tensor, copy) or not bool(_any_difference(tensor, copy))
    return torch.equal(tensor.to_dense(), copy.to_dense())


def _any_difference(tensor: Tensor, copy: Tensor) -> Tensor:
    """() whether values differ; NaN equals NaN."""
    return ((tensor.detach() != copy) & ~((tensor.detach() != tensor.detach()) & (copy != copy))).any()  # noqa: PLR0124
