"""The network to be explained: built by name or given as a module, loaded, and put behind glass."""

import copy
import difflib
import hashlib
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torchvision
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from vitrine.glass import behind_glass, captured

WEIGHT_FILE_SUFFIXES = {".pth", ".pt", ".safetensors"}


@dataclass
class BackboneOptions:
    """Which network, and which weights.

    Args:
        name: a torchvision name (``resnet18``), a timm name (``timm:resnet18d``), or an own class (``package.module:Class``).
        weights: a torchvision entry (``IMAGENET1K_V1``, ``DEFAULT``), ``pretrained`` for timm, or a local ``.pth``,
            ``.pt`` or ``.safetensors`` file with a state dict; random weights without it.
        num_classes: number of logits; without it as many as the weight file says that it has (those written by this
            project do), else the network's own default.
        arguments: further keyword arguments of the network's constructor.
    """

    name: str = "resnet18"
    weights: str | None = None
    num_classes: int | None = None
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def weight_file(self) -> Path | None:
        """The local file that ``weights`` names, if it names one."""
        return Path(self.weights) if self.weights and Path(self.weights).suffix in WEIGHT_FILE_SUFFIXES else None


class BackboneOutput(NamedTuple):
    """What one forward pass gives."""

    logits: Tensor
    """(B, C) before softmax."""
    taps: dict[str, Tensor]
    """Outputs of the asked layers, by dotted name."""


class FrozenBackbone(nn.Module):
    """A trained classifier behind glass: nothing that is done with it changes it.

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
    """SHA-256 of the weights as they were given: names, types, shapes and bytes of parameters and buffers."""

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
        with behind_glass(self.model), captured(self.model, taps) as activations:
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
        check_digest(expected=state, found=self.digest)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self.model._apply(fn, recurse)  # type: ignore[no-untyped-call]  # noqa: SLF001
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def extra_repr(self) -> str:
        """Name and weights."""
        return f"{self.options.name}, weights={self.options.weights}"


def check_digest(*, expected: str, found: str) -> None:
    """Raises ValueError, naming both, where an explainer was made for other weights than those at hand."""
    if expected != found:
        raise ValueError(
            f"The explainer was trained on a backbone with weight digest {expected}, but this one has {found};"
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


def build_network(
    name: str, weights: str | None = None, num_classes: int | None = None, arguments: Mapping[str, Any] | None = None
) -> nn.Module:
    """Builds a network by name and loads its weights; the arguments are those of `BackboneOptions`.

    Raises:
        ValueError: for an unknown name or table entry, or a state dict that does not fit.
        FileNotFoundError: where the weight file does not exist.
        ModuleNotFoundError: where timm is asked for and not installed.
    """
    options = BackboneOptions(name, weights, num_classes, dict(arguments or {}))
    num_classes = num_classes or recorded_num_classes(options.weight_file)
    keywords = dict(options.arguments) | ({} if num_classes is None else {"num_classes": num_classes})
    table_entry = None if options.weight_file else weights
    if name.startswith("timm:"):
        model = _build_timm(name.removeprefix("timm:"), table_entry, keywords)
    elif ":" in name:
        model = _build_own(name, table_entry, keywords)
    else:
        model = _build_torchvision(name, table_entry, keywords)
    if options.weight_file:
        load_weights(model, options.weight_file)
    return model


def _build_torchvision(name: str, entry: str | None, keywords: dict[str, Any]) -> nn.Module:
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=8) or known
        raise ValueError(
            f"torchvision has no classifier named {name!r}; near names: {', '.join(near)};"
            " a timm model is 'timm:NAME', an own class 'package.module:Class'."
        )
    table = torchvision.models.get_model_weights(name)
    if entry is not None and entry != "DEFAULT" and entry not in table.__members__:
        raise ValueError(
            f"weights {entry!r} are neither a file ending in .pth, .pt or .safetensors nor one of torchvision's"
            f" for {name}: {', '.join(table.__members__)}."
        )
    if name in {"googlenet", "inception_v3"} and entry is None:
        keywords.setdefault("init_weights", False)  # torchvision warns of the slow initialisation otherwise
    model: nn.Module = torchvision.models.get_model(name, weights=entry, **keywords)
    return model


def _build_timm(name: str, entry: str | None, keywords: dict[str, Any]) -> nn.Module:
    try:
        import timm  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"Backbone 'timm:{name}' needs timm: pip install 'vitrine[timm]'") from error
    if entry not in {None, "pretrained"}:
        raise ValueError(f"weights {entry!r} are unknown to timm; give 'pretrained' or a local file.")
    if not timm.is_model(name):
        near = ", ".join(timm.list_models(f"*{name.split('_', maxsplit=1)[0]}*")[:8]) or "see timm.list_models()"
        raise ValueError(f"timm has no model named {name!r}; near names: {near}.")
    model: nn.Module = timm.create_model(name, pretrained=entry is not None, **keywords)
    return model


def _build_own(name: str, entry: str | None, keywords: dict[str, Any]) -> nn.Module:
    module_name, _, class_name = name.partition(":")
    if entry is not None:
        raise ValueError(f"weights {entry!r} of {name} must be a local file ending in .pth, .pt or .safetensors.")
    try:
        network = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"Backbone {name!r} cannot be imported: {error}.") from error
    model: nn.Module = network(**keywords)
    return model


def recorded_num_classes(path: Path | None) -> int | None:
    """The number of classes that a ``.safetensors`` file says that it has; None where it says nothing."""
    if path is None or path.suffix != ".safetensors" or not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            recorded = (file.metadata() or {}).get("num_classes")
    except SafetensorError:
        return None  # reading the tensors will say what is wrong
    return None if recorded is None else int(recorded)


def load_weights(model: nn.Module, path: Path) -> None:
    """Loads a local state dict into a model, strictly.

    Raises:
        FileNotFoundError: where the file does not exist.
        ValueError: where it is no state dict, or not this model's.
    """
    state = read_state_dict(path)
    _check_fit(model.state_dict(), state, path)
    model.load_state_dict(state)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Reads a state dict from ``.safetensors``, or from ``.pth`` / ``.pt`` without running what is pickled in it.

    Raises:
        FileNotFoundError: where the file does not exist.
        ValueError: where it holds anything but tensors by name.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Weight file {path} does not exist.")
    try:
        state = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (SafetensorError, RuntimeError, EOFError, ValueError, OSError, KeyError) as error:
        raise ValueError(f"Weight file {path} cannot be read as a state dict: {_first_line(error)}") from error
    except Exception as error:
        if type(error).__name__ == "UnpicklingError":
            raise ValueError(f"Weight file {path} holds more than tensors; save model.state_dict() alone.") from error
        raise
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"Weight file {path} does not hold a state dict; save model.state_dict().")
    return dict(state)


def _check_fit(own: Mapping[str, Tensor], state: Mapping[str, Tensor], path: Path) -> None:
    # Older checkpoints lack this counter, which nothing at inference reads; load_state_dict fills it in.
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    surplus = [key for key in state if key not in own]
    if missing or surplus:
        what = f"lacks {missing[0]!r}" if missing else f"has {surplus[0]!r}, which the network does not"
        raise ValueError(
            f"Weight file {path} does not fit the network: it {what}"
            f" ({len(missing)} keys missing, {len(surplus)} too many)."
        )
    for key, value in state.items():
        if value.shape != own[key].shape:
            raise ValueError(
                f"Weight file {path} does not fit the network: {key!r} has shape {tuple(value.shape)} there and"
                f" {tuple(own[key].shape)} here; is num_classes right?"
            )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
