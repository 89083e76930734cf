"""FrozenBackbone: the trained classifier that is explained, and that nothing changes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vitrine.backbones.batch_mixing import mixes_batch
from vitrine.backbones.compiled import uncompiled
from vitrine.backbones.copying import copied_network, weight_digest
from vitrine.backbones.guard import eval_guard
from vitrine.backbones.identity import arguments_text, network_identity, structure_digest
from vitrine.backbones.networks import BackboneOptions, built
from vitrine.backbones.outputs import LogitsHook, OutputChoice, class_logits
from vitrine.backbones.taps import captured
from vitrine.backbones.weight_files import load_weights
from vitrine.core.image_inputs import check_images, run_errors_named


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
    weights, and the arguments of its constructor; loading one that was made for others is an error.

    Args:
        network: a name as in `BackboneOptions`, or an ``nn.Module`` that maps (B, 3, H, W) images to (B, C) logits, or to an
            output that holds them (see `class_logits`).
        weights: as in `BackboneOptions`.
        num_classes: as in `BackboneOptions`; not for an ``nn.Module``.
        arguments: as in `BackboneOptions`; not for an ``nn.Module``.
        output: which part of the output holds the logits: as in `BackboneOptions`, or a function of the output.

    Raises:
        ValueError: for an unknown network, weights that do not fit it, and a network without values.
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
        output: OutputChoice | None = None,
    ) -> None:
        super().__init__()
        self.arguments = None if isinstance(network, nn.Module) else arguments_text(arguments or {})
        if isinstance(network, nn.Module):
            network = uncompiled(network)
            name = f"{type(network).__module__}:{type(network).__qualname__}"
            model = copied_network(network)
            if weights is not None:
                load_weights(model, Path(weights))
        else:
            name = network
            options = BackboneOptions(
                name, None if weights is None else str(weights), num_classes, dict(arguments or {})
            )
            model, num_classes = built(options)
        self.options = BackboneOptions(
            name,
            None if weights is None else str(weights),
            num_classes,
            dict(arguments or {}),
            None if callable(output) else output,
        )
        # Not a registered submodule: what nn.Module does not know of, no optimizer, checkpoint or DDP wrapper can touch.
        self.__dict__["model"] = _frozen(model)
        self.digest = weight_digest(model.state_dict())
        self.structure = structure_digest(model)
        self._output = output
        if output is not None:
            model.register_forward_hook(LogitsHook(output))

    model: nn.Module
    arguments: str | None
    """Arguments of the constructor as one text; None for an ``nn.Module``, whose arguments are not known."""
    structure: str
    """SHA-256 of the layers with their settings (`structure_digest`)."""
    digest: str
    """SHA-256 of the weights as they were loaded: names, types, shapes and bytes of parameters and buffers."""

    @classmethod
    def from_options(cls, options: BackboneOptions) -> "FrozenBackbone":
        """Builds the network that the options name."""
        return cls(options.name, options.weights, options.num_classes, options.arguments, options.output)

    def forward(self, images: Tensor, taps: Sequence[str] = ()) -> BackboneOutput:
        """Logits, and the outputs of the layers named in ``taps``; of networks that mix a batch, those of each image alone.

        Args:
            images: (B, 3, H, W), normalised as the network takes them.
            taps: dotted names of submodules; their outputs are cloned, so that a following in-place ReLU leaves them alone.

        Raises:
            ValueError: for an unknown layer, with the nearest names, and for what is no batch of images.
        """
        check_images(images)
        if mixes_batch(self.model, images):
            outputs = [self(image, taps) for image in torch.split(images, 1)]
            logits, all_taps = torch.cat([one.logits for one in outputs]), [one.taps for one in outputs]
            return BackboneOutput(logits, {name: torch.cat([one[name] for one in all_taps]) for name in taps})
        guard, errors = eval_guard(self.model), run_errors_named(self.options.name, images)
        with guard, errors, captured(self.model, taps) as activations:
            logits = class_logits(self.model(images), len(images))
        return BackboneOutput(logits, dict(activations))

    @property
    def identity(self) -> dict[str, str]:
        """All that the outputs depend on beside the images, as text by name: weights, arguments, code, precision."""
        own = {"weights": self.digest, "layers": self.structure}
        if self._output is not None:
            own["output"] = getattr(self._output, "__qualname__", repr(self._output))
        return network_identity(self.options.name, self.options.arguments, self.model) | own

    @property
    def output_function(self) -> str | None:
        """Name of the function that takes the logits from the output, where ``output`` is one, which no file can hold."""
        return getattr(self._output, "__qualname__", repr(self._output)) if callable(self._output) else None

    @property
    def belongs_to(self) -> dict[str, str]:
        """Network and weights as people know them, as text by name; a file of weights by its absolute path."""
        file = self.options.weight_file
        return {"network": self.options.name, "weights": str(file.resolve() if file else self.options.weights or "")}

    def get_extra_state(self) -> str:
        """The digest and the arguments, where they are known, which stand in checkpoints in place of the weights."""
        return " ".join(filter(None, (self.digest, self.arguments)))

    def set_extra_state(self, state: str) -> None:
        """Compares a checkpoint's digest and arguments with those at hand; earlier ones hold the digest alone.

        Raises:
            ValueError: where they differ.
        """
        digest, _, arguments = state.partition(" ")
        check_digest(expected=digest, actual=self.digest)
        check_arguments(expected=arguments or None, actual=self.arguments)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self.model._apply(fn, recurse)  # type: ignore[no-untyped-call]  # noqa: SLF001
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def extra_repr(self) -> str:
        """Name and weights."""
        return f"{self.options.name}, weights={self.options.weights}"


def _frozen(model: nn.Module) -> nn.Module:
    """The network in eval mode, with parameters that are constants; networks of TorchScript too."""
    if hasattr(model, "training"):  # a frozen ScriptModule has no mode any more
        model.eval()
    for parameter in model.parameters():
        parameter.requires_grad = False
    return model


def check_digest(*, expected: str, actual: str) -> None:
    """Raises ValueError, naming both, where an explainer was made for other weights than those at hand."""
    if expected != actual:
        raise ValueError(
            f"The explainer was trained on a backbone with weight digest {expected}, but this one has {actual};"
            " give it the weights that it was trained on."
        )


def check_arguments(*, expected: str | None, actual: str | None) -> None:
    """Raises ValueError, naming both, where an explainer was made for a network of other arguments than that at hand.

    None stands for arguments that are not known; nothing is compared then.
    """
    if expected is not None and actual is not None and expected != actual:
        raise ValueError(
            f"The explainer was trained on a backbone with the arguments {expected[:300]}, but this one has {actual[:300]};"
            " it computes otherwise with the same weights, so give it the arguments that it was trained with."
        )
