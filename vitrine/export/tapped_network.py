"""A network and the outputs of some of its layers as one plain forward pass, which can be traced."""

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vitrine.backbones.copying import copied_network
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.outputs import LogitsHook, OutputChoice, chosen_part


class TappedNetwork(nn.Module):
    """Logits and layers' outputs of a copy of a frozen network, without the guards that stand around it otherwise.

    Args:
        backbone: whose network is copied.
        layers: dotted names of submodules.
    """

    def __init__(self, backbone: FrozenBackbone, layers: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.network = copied_network(backbone.model)
        self.layers = layers
        self.choice = _taken_logits_choice(self.network)

    def forward(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(B, n) logits and the layers' outputs by name, cloned, as what follows may work in place."""
        seen: dict[str, Tensor] = {}
        handles = [self._keeping(name, seen) for name in self.layers]
        try:
            logits = chosen_part(self.network(images), self.choice)
        finally:
            for handle in handles:
                handle.remove()
        if logits.ndim == 1:
            logits = logits[:, None]
        return (logits.flatten(2).mean(dim=2) if logits.ndim > 2 else logits), seen

    def _keeping(self, name: str, seen: dict[str, Tensor]) -> RemovableHandle:
        def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            seen[name] = torch.clone(output)

        return self.network.get_submodule(name).register_forward_hook(keep)


def _taken_logits_choice(network: nn.Module) -> OutputChoice | None:
    """Which part of the output holds the logits; the hook that says so is taken off, as it compares batch sizes."""
    hooks = network._forward_hooks  # noqa: SLF001 - of a copy of our own
    for key, hook in list(hooks.items()):
        if isinstance(hook, LogitsHook):
            del hooks[key]
            return hook.choice
    return None
