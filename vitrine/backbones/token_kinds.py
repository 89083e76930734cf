"""Token kinds: which tokens of a transformer's layer stand for patches, and which is the class token; found by running it."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from vitrine.backbones.checkpointing import without_checkpointing
from vitrine.backbones.classifier_layer import input_channels
from vitrine.backbones.guard import eval_guard
from vitrine.backbones.outputs import class_logits

SAME = 1e-3
"""Change of a token from one image to another below which it is none, as a share of the largest change of any token."""
READ = 1e-6
"""Gradient at a token below which it is none, as a share of that at the token with the largest."""
MOST_CLASS_TOKENS = 2
"""Class and distillation tokens, where tokens have looked at each other before they are first seen."""


class TokenKinds(NamedTuple):
    """What the N tokens of a layer stand for."""

    patches: tuple[int, ...]
    """Indices of the tokens that were made of the image: all but class and register tokens."""
    class_token: int | None
    """Index of the token that the logits are read from, the first where there are several; None where patches are read."""


def token_kinds(model: nn.Module, count: int, size: Sequence[int]) -> TokenKinds:
    """Tells the N tokens of a transformer apart by running it.

    Class and register tokens are parameters: where N tokens are first seen, before they look at each other, they are the
    same for any two images. The class token is the one of them that a gradient leads to from the logits where N tokens are
    last seen. Where all tokens depend on the image from the beginning, one or two that alone are read are class tokens too.

    Args:
        model: maps (B, C, H, W) images to logits. It is not changed.
        count: N, at least 2.
        size: H, W of the images.

    Example:
        >>> from torchvision.models import VisionTransformer
        >>> model = VisionTransformer(32, 16, 1, 2, 8, 16, num_classes=3)
        >>> token_kinds(model, 5, (32, 32))
        TokenKinds(patches=(1, 2, 3, 4), class_token=0)
    """
    with eval_guard(model), torch.inference_mode(mode=False), torch.enable_grad(), without_checkpointing():
        one, other = (_pass_over(model, count, size, seed) for seed in range(2))
        given = _given(one, other)
        read = _read(one) if one.logits.requires_grad else set()
    class_tokens = given & read or (read if len(read) <= MOST_CLASS_TOKENS < count else set())
    patches = tuple(index for index in range(count) if index not in given | class_tokens)
    return TokenKinds(patches, min(class_tokens, default=None))


class _Pass:
    """What a forward pass shows of tensors of N tokens, and of vectors."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.first: Tensor | None = None
        """(N, D), the first tokens that depend on the image."""
        self.tokens: list[tuple[GradientEdge, int, Tensor]] = []
        """Edge in the graph, dimension of the tokens, and noise of their shape."""
        self.vectors: list[tuple[GradientEdge, Tensor]] = []
        self.logits = torch.empty(0)

    def see(self, tensor: object) -> None:
        """Keeps a tensor that a module takes or gives, where it depends on the image."""
        if not isinstance(tensor, Tensor) or not tensor.requires_grad:
            return
        if tensor.ndim == 2 and len(tensor) == 1:
            self.vectors.append((get_gradient_edge(tensor), _noise(tensor)))
        elif tensor.ndim == 3 and sorted(tensor.shape[:2]) == [1, self.count]:
            dimension = list(tensor.shape[:2]).index(self.count)
            if self.first is None:
                self.first = tensor.detach().select(1 - dimension, 0).clone()
            self.tokens.append((get_gradient_edge(tensor), dimension, _noise(tensor)))


def _pass_over(model: nn.Module, count: int, size: Sequence[int], seed: int) -> _Pass:
    seen = _Pass(count)

    def before(_module: nn.Module, inputs: Any) -> None:
        for value in inputs:
            seen.see(value)

    def after(_module: nn.Module, _inputs: Any, output: Any) -> None:
        for value in output if isinstance(output, tuple | list) else [output]:
            seen.see(value)

    like = next((value for value in model.parameters() if value.is_floating_point()), torch.empty(0))
    with ExitStack() as hooks:
        for name, module in model.named_modules():
            if name and not isinstance(module, torch.jit.ScriptModule):
                hooks.callback(module.register_forward_pre_hook(before).remove)
                hooks.callback(module.register_forward_hook(after).remove)
        pixels = torch.randn(1, input_channels(model), *size, generator=torch.Generator().manual_seed(seed))
        # A leaf may not be changed in place.
        seen.logits = class_logits(model(pixels.to(like).requires_grad_().clone()), 1)
    return seen


def _given(one: _Pass, other: _Pass) -> set[int]:
    """Tokens that two images have in common."""
    if one.first is None or other.first is None or one.first.shape != other.first.shape:
        return set()
    change = (one.first - other.first).double().norm(dim=1)
    same = (change <= SAME * change.max()).nonzero().flatten().tolist()
    return set(same) if len(same) < one.count else set()


def _read(seen: _Pass) -> set[int]:
    """Tokens that the logits depend on where they are last seen."""
    logits = (get_gradient_edge(seen.logits), _noise(seen.logits))
    for edge, dimension, _ in reversed(seen.tokens):
        gradient = _gradient(logits, edge)
        if gradient is None:
            continue
        if not gradient.any():  # a classifier of zeros: what goes into it is read then
            below = [vector for vector in seen.vectors if _gradient(logits, vector[0]) is not None]
            gradients = [_gradient(vector, edge) for vector in below]
            gradient = sum((part.abs() for part in gradients if part is not None), gradient)
        sizes = gradient.double().select(1 - dimension, 0).norm(dim=1)
        return set((sizes > READ * sizes.max()).nonzero().flatten().tolist())
    return set()


def _gradient(start: tuple[GradientEdge, Tensor], edge: GradientEdge) -> Tensor | None:
    (gradient,) = torch.autograd.grad([start[0]], [edge], [start[1]], retain_graph=True, allow_unused=True)
    return gradient


def _noise(like: Tensor) -> Tensor:
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(0)).to(like)
