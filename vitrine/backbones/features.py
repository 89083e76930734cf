"""What an explainer's head reads: the vector Z of one layer of the backbone."""

import json
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from vitrine.backbones.checkpointing import without_checkpointing
from vitrine.backbones.frozen import BackboneOutput, FrozenBackbone
from vitrine.backbones.guard import eval_guard, guarded_once
from vitrine.backbones.image_sizes import SIZE_ERRORS, blank_image, check_size
from vitrine.backbones.outputs import class_logits
from vitrine.backbones.pooling import OVER_PLACES, POOLINGS, pooled
from vitrine.backbones.taps import resolve_layer
from vitrine.backbones.token_kinds import TokenKinds, token_kinds
from vitrine.core.batch import Features
from vitrine.core.options import OptionError


class FeatureSizes(NamedTuple):
    """What a layer gives."""

    width: int
    """D, length of an image's features."""
    classes: int
    """C, number of logits."""
    positions: int
    """P, vectors Z that stand in them one after the other; 1 unless positions or tokens are kept apart."""


class TappedFeatures(nn.Module):
    """Z(x; W): a layer's output as one vector an image (section 2.1 of Qi et al.).

    Maps are (B, C, h, w) or, as Swin and ConvNeXt have them inside, (B, h, w, C); tokens are (B, N, D) or, as transformers of
    torch have them by default, (N, B, D). Which tokens are patches and which is the class token is found by running the
    network, see `token_kinds`.

    Args:
        backbone: the frozen classifier.
        layer: dotted name of the tapped layer.
        pooling: of maps, ``"average"`` over space or ``"positions"`` to keep a vector Z for each position, one after the
            other in row order; of tokens, ``"cls"`` for the class token, ``"mean_tokens"`` for the mean of the patch tokens
            (class and register tokens are none), or ``"tokens"`` to keep a vector Z for each of these; of a map,
            ``"mean_tokens"`` and ``"tokens"`` are ``"average"`` and ``"positions"``; ``"flatten"``; or ``"none"`` for a layer
            that gives vectors.

    Raises:
        ValueError: for an unknown pooling or layer.

    Example:
        >>> from torchvision.models import VisionTransformer
        >>> backbone = FrozenBackbone(VisionTransformer(32, 16, 1, 2, 8, 16, num_classes=3))
        >>> images = torch.rand(2, 3, 32, 32)
        >>> tokens = backbone(images, taps=["encoder.ln"]).taps["encoder.ln"]
        >>> torch.equal(TappedFeatures(backbone, "encoder.ln", "cls")(images)["features"], tokens[:, 0])
        True
    """

    def __init__(self, backbone: FrozenBackbone, layer: str, pooling: str = "average") -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise ValueError(f"pooling {pooling!r} is unknown; choose one of {', '.join(POOLINGS)}.")
        self.backbone = backbone
        self.layer = layer
        self.pooling = pooling
        self._kinds: dict[tuple[int, ...], TokenKinds] = {}
        self._seen_sizes: set[tuple[int, ...]] = set()
        self._tokens_come_first: bool | None = None

    @property
    def key(self) -> str:
        """Text that differs whenever the features could."""
        return json.dumps({**self.backbone.identity, "layer": self.layer, "pooling": self.pooling}, sort_keys=True)

    @property
    def belongs_to(self) -> dict[str, str]:
        """Network, weights and layer as people know them, as text by name."""
        return {**self.backbone.belongs_to, "layer": f"{self.layer} ({self.pooling})"}

    def many_passes(self) -> AbstractContextManager[None]:
        """Within it, calls guard the network once, see `guarded_once`."""
        return guarded_once(self.backbone.model)

    def forward(self, images: Tensor) -> Features:
        """Features and logits of (B, 3, H, W) images, in one pass.

        What tokens of images of this size stand for is found at the first of them, by two more passes and a backward pass.
        """
        return self.read(self.backbone(images, taps=[self.layer]), images)

    def read(self, output: BackboneOutput, images: Tensor) -> Features:
        """As `forward`, from a pass of the backbone over the images that tapped the layer."""
        vectors = self._pooled(output.taps[self.layer], images, self.pooling)
        if vectors is None:
            raise self._refusal(output.taps[self.layer], images)
        self._seen_sizes.add(tuple(images.shape[2:]))
        return Features(features=vectors.flatten(1), logits=output.logits)

    def prepare(self, images: Tensor) -> None:
        """Finds what tokens of images of this size stand for, where that is not known yet.

        For whoever calls `forward` in a context that changes how operators or their gradients are computed.
        """
        if tuple(images.shape[2:]) not in self._seen_sizes:
            with torch.no_grad():
                self(images[:1])

    def is_read(self, image: Tensor) -> bool:
        """Whether the logits depend on what the pooling takes of the layer's output, as far as gradients tell.

        In the last layer of a transformer with a class token they do not depend on patch tokens any more. Where no gradient
        leads to the layer at all, as from a classifier of zeros, nothing is known, and it counts as read.

        Args:
            image: (1, C, H, W).
        """
        model = self.backbone.model
        edges: list[GradientEdge] = []

        def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            if output.requires_grad:
                edges.append(get_gradient_edge(output))

        with eval_guard(model), torch.inference_mode(mode=False), torch.enable_grad(), without_checkpointing():
            handle = model.get_submodule(resolve_layer(model, self.layer)).register_forward_hook(keep)
            try:
                logits = class_logits(model(image.clone().requires_grad_().clone()), 1)
            finally:
                handle.remove()
            if not edges or not logits.requires_grad:
                return True
            (gradient,) = torch.autograd.grad(logits.sum(), edges[-1], allow_unused=True)
        taken = None if gradient is None else self._pooled(gradient.abs(), image, self.pooling)
        return taken is None or not gradient.any() or bool(taken.any())

    def sizes(self, image_size: int) -> FeatureSizes:
        """Found by one pass over a blank image of image_size × image_size pixels.

        Raises:
            ValueError: for a layer that does not exist, gives no tensor or none of which the pooling makes vectors, and an
                image size that the network does not take; the last two name what works, see `OptionError`.
        """
        if image_size < 1:
            raise ValueError(f"image_size is {image_size}; give the side of the backbone's input in pixels, 1 or more.")
        blank = blank_image(self.backbone.model, image_size)
        output = self._run(blank)
        activation = output.taps[self.layer]
        self._tokens_come_first = activation.ndim == 3 and len(activation) != 1 == activation.shape[1]
        vectors = self._pooled(activation, blank, self.pooling)
        if vectors is None:
            raise self._refusal(activation, blank)
        self._seen_sizes.add((image_size, image_size))
        positions = vectors.shape[1] if self.pooling in OVER_PLACES else 1
        return FeatureSizes(vectors.flatten(1).shape[1], output.logits.shape[1], positions)

    def _run(self, blank: Tensor) -> BackboneOutput:
        try:
            with torch.no_grad():
                output: BackboneOutput = self.backbone(blank, taps=[self.layer])
        except SIZE_ERRORS:
            check_size(self.backbone, blank.shape[-1])
            raise  # the size is not to blame
        return output

    def _pooled(self, activation: Tensor, images: Tensor, pooling: str) -> Tensor | None:
        """(B, D) or, over places, (B, P, D); None where the pooling does not make vectors of the layer's output."""
        if activation.ndim == 3 and self._has_tokens_first(activation, images):
            activation = activation.transpose(0, 1)
        if activation.ndim < 2 or len(activation) != len(images):
            raise ValueError(
                f"Layer {self.layer!r} gives {tuple(activation.shape)} for a batch of {len(images)}; choose a layer that"
                " gives (B, …) for B images."
            )

        def kinds() -> TokenKinds:
            key = tuple(images.shape[2:])
            if key not in self._kinds:
                self._kinds[key] = token_kinds(self.backbone.model, activation.shape[1], key)
            return self._kinds[key]

        return pooled(activation, pooling, images.shape[1:], kinds)

    def _has_tokens_first(self, activation: Tensor, images: Tensor) -> bool:
        """Whether tokens are (N, B, D); where N = B, an image alone tells."""
        if len(set(activation.shape[:2])) > 1:
            return len(activation) != len(images) == activation.shape[1]
        if self._tokens_come_first is None:
            with torch.no_grad():
                alone = self.backbone(images[:1], taps=[self.layer]).taps[self.layer]
            self._tokens_come_first = len(alone) != 1 == alone.shape[1]
        return self._tokens_come_first

    def _refusal(self, activation: Tensor, images: Tensor) -> OptionError:
        """The error of a pooling that does not make vectors, with those that do."""
        works = [repr(name) for name in POOLINGS if self._pooled(activation, images, name) is not None]
        wanted = " or ".join(filter(None, (", ".join(works[:-1]), *works[-1:]))) or "another layer"
        told = (
            f"Layer {self.layer!r} gives {activation.ndim - 1}-dimensional activations, which pooling {self.pooling!r} does"
            " not turn into vectors"
        )
        if self.pooling == "cls" and activation.ndim == 3:
            told += ", as the logits are read from no class token among them"
        return OptionError("pooling", self.pooling, f"{wanted}: {told}")
