"""Copies of networks, and digests of their weights, whatever a network keeps in its attributes and state."""

import copy
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from vitrine.backbones.model_parts import OF_EVERY_MODULE


def copied_network(network: nn.Module) -> nn.Module:
    """A deep copy of a network that shares no tensor with it.

    Tensors that layers have computed and keep, such as the weight of a pruned or weight-normed layer or activations that a
    hook collects, are copied without their graphs. What cannot be copied, such as a lock, is shared with the network.

    Args:
        network: is not changed.

    Raises:
        ValueError: for a network whose parameters have no values, on the device ``meta`` or in a lazy layer.
    """
    refuse_uninitialised(network)
    memo: dict[int, Any] = {}
    for module in network.modules():
        own = [value for name, value in vars(module).items() if name not in OF_EVERY_MODULE]
        for value in (*own, *module._forward_hooks.values(), *module._forward_pre_hooks.values()):  # noqa: SLF001
            _prepare(value, memo)
    with torch.no_grad():  # parameters of a ScriptModule would be no leaves otherwise
        return copy.deepcopy(network, memo)


def refuse_uninitialised(network: nn.Module) -> None:
    """Raises ValueError, with its name, for a parameter or buffer that has no values yet."""
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if is_lazy(tensor):
            raise ValueError(
                f"The network's {name!r} has no values yet (a lazy layer); run the network on a batch first."
            )
        if tensor.is_meta:
            raise ValueError(f"The network's {name!r} has no values (its device is meta); load its weights first.")


def _prepare(value: Any, memo: dict[int, Any]) -> None:
    """Notes copies of what ``copy.deepcopy`` does not take, by identity."""
    for tensor in _tensors(value):
        if not tensor.is_leaf:
            memo[id(tensor)] = tensor.detach().clone()
    if isinstance(value, nn.Module | Tensor):
        return  # submodules have their own turn
    try:
        copy.deepcopy(value, dict(memo))
    except Exception:  # noqa: BLE001 - objects refuse in many ways
        memo[id(value)] = value


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _tensors(one)
    elif isinstance(value, list | tuple | set):
        for one in value:
            yield from _tensors(one)


def weight_digest(state: Mapping[str, Any]) -> str:
    """SHA-256 over the sorted entries of a state dict, the same on every device.

    Args:
        state: tensors by name; entries of other kinds, as ``get_extra_state`` gives them, count by their values.
    """
    total = hashlib.sha256()
    for name in sorted(state):
        for part in _described(name, state[name]):
            total.update(part)
    return total.hexdigest()


def _described(name: str, value: Any) -> Iterator[bytes | memoryview]:
    """The bytes that stand for an entry of a state dict."""
    if isinstance(value, Tensor) and value.is_quantized:
        yield from _described(name, (value.int_repr(), value.dequantize()))  # scales and zero points are in the second
    elif isinstance(value, Tensor):
        tensor = value.detach().cpu()
        dense = (tensor.to_dense() if tensor.layout != torch.strided else tensor).contiguous()
        yield f"{name} {dense.dtype} {tuple(dense.shape)}".encode()
        yield dense.reshape(-1).view(torch.uint8).numpy().data
    elif isinstance(value, Mapping):
        for key in sorted(value, key=repr):
            yield from _described(f"{name}.{key}", value[key])
    elif isinstance(value, list | tuple):
        for index, one in enumerate(value):
            yield from _described(f"{name}.{index}", one)
    else:
        yield f"{name} {value!r}".encode()
