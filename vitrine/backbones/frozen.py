"""FrozenBackbone: the trained classifier that is explained, and that nothing changes."""

import copy
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vitrine.backbones.compiled import uncompiled
from vitrine.backbones.guard import eval_guard
from vitrine.backbones.networks import BackboneOptions, build_network
from vitrine.backbones.taps import captured
from vitrine.backbones.weight_files import load_weights


class BackboneOutput(NamedTuple):
    """What one forward pass gives."""

    logits: Tensor
    """(B, C) before softmax."""
    taps: dict[str, Tensor]
    """Outputs of the asked layers, by dotted name."""


class FrozenBackbone(nn.Module):
    """A frozen classifier: nothing that is done with it changes it.

    The network is a copy of its own, kept out of ``parameters()``, ``state_dict()`` and ``train()``: no optimizer, no
    checkpoint and no mode switch reaches it, while ``to()`` moves it along. In its place a checkpoint holds a digest of its
    weights, and loading one that was made for other weights is an error.

    Args:
        network: a name as in `BackboneOptions`, or an ``nn.Module`` that maps (B, 3, H, W) images to (B, C) logits.
        weights: as in `BackboneOptions`.
        num_classes: as in `BackboneOptions`; not for an ``nn.Module``.
        arguments: as in `BackboneOptions`; not for an ``nn.Module``.

    Raises:
        ValueError: for an unknown network or weights that do not fit it.
        FileNotFoundError: where the weight file does not exist.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 6 * 6, 4))
        >>> backbone = FrozenBackbone(network)
        >>> logits, taps = backbone(torch.rand(2, 3, 8, 8), taps=["0"])
        >>> logits.shape, taps["0"].shape
        (torch.Size([2, 4]), torch.Size([2, 8, 6, 6]))
        >>> list(backbone.parameters())
        []
    """

    def __init__(
        self,
        network: str | nn.Module,
        weights: str | Path | None = None,
        num_classes: int | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if isinstance(network, nn.Module):
            network = uncompiled(network)
            name = f"{type(network).__module__}:{type(network).__qualname__}"
            model = copy.deepcopy(network)
            if weights is not None:
                load_weights(model, Path(weights))
        else:
            name = network
            model = build_network(name, None if weights is None else str(weights), num_classes, arguments)
        self.options = BackboneOptions(
            name, None if weights is None else str(weights), num_classes, dict(arguments or {})
        )
        # Not a registered submodule: what nn.Module does not know of, no optimizer, checkpoint or DDP wrapper can touch.
        self.__dict__["model"] = model.eval().requires_grad_(requires_grad=False)
        self.digest = weight_digest(model.state_dict())

    model: nn.Module
    digest: str
    """SHA-256 of the weights as they were loaded: names, types, shapes and bytes of parameters and buffers."""

    @classmethod
    def from_options(cls, options: BackboneOptions) -> "FrozenBackbone":
        """Builds the network that the options name."""
        return cls(options.name, options.weights, options.num_classes, options.arguments)

    def forward(self, images: Tensor, taps: Sequence[str] = ()) -> BackboneOutput:
        """Logits, and the outputs of the layers named in ``taps``.

        Args:
            images: (B, 3, H, W), normalised as the network takes them.
            taps: dotted names of submodules; their outputs are cloned, so that a following in-place ReLU leaves them alone.

        Raises:
            ValueError: for an unknown layer, with the nearest names.
        """
        with eval_guard(self.model), captured(self.model, taps) as activations:
            logits = self.model(images)
        return BackboneOutput(logits, dict(activations))

    def get_extra_state(self) -> str:
        """The digest, which stands in checkpoints in place of the weights."""
        return self.digest

    def set_extra_state(self, state: str) -> None:
        """Compares a checkpoint's digest with the weights at hand.

        Raises:
            ValueError: where they differ.
        """
        check_digest(expected=state, actual=self.digest)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self.model._apply(fn, recurse)  # type: ignore[no-untyped-call]  # noqa: SLF001
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def extra_repr(self) -> str:
        """Name and weights."""
        return f"{self.options.name}, weights={self.options.weights}"


def check_digest(*, expected: str, actual: str) -> None:
    """Raises ValueError, naming both, where an explainer was made for other weights than those at hand."""
    if expected != actual:
        raise ValueError(
            f"The explainer was trained on a backbone with weight digest {expected}, but this one has {actual};"
            " give it the weights that it was trained on."
        )


def weight_digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over the sorted entries of a state dict, the same on every device."""
    total = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
