"""Small transformers, with and without class, distillation and register tokens."""

from typing import Any

import timm
import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer


def timm_vit(name: str = "vit_tiny_patch16_224", **options: Any) -> nn.Module:
    """A vision transformer of timm for 32 × 32 images, 16 patches and five classes."""
    small = {"embed_dim": 24, "depth": 2, "num_heads": 2, "num_classes": 5, "img_size": 32, "patch_size": 8}
    model: nn.Module = timm.create_model(name, **small | options).eval()
    return model


def torchvision_vit() -> VisionTransformer:
    """As it is built: its classifier is of zeros, through which no gradient flows."""
    return VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5).eval()


class TokensFirst(nn.Module):
    """Tokens are (N, B, D), as PyTorch's own transformers have them by default; a class token stands last."""

    def __init__(self, *, norm_first: bool = False) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 8, 8)
        self.class_token = nn.Parameter(torch.randn(1, 1, 8))
        self.positions = nn.Parameter(torch.randn(17, 1, 8) * 0.1)
        layer = nn.TransformerEncoderLayer(8, 2, 16, norm_first=norm_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        patches = self.patches(images).flatten(2).permute(2, 0, 1)
        tokens = torch.cat([patches, self.class_token.expand(-1, len(images), -1)]) + self.positions
        logits: Tensor = self.head(self.encoder(tokens)[-1])
        return logits


class Pairs(nn.Module):
    """A layer that gives two tensors."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The tokens, and what a linear layer makes of them."""
        return tokens, self.inner(tokens)


class Opaque(torch.autograd.Function):
    """The identity, with a backward pass of its own, which no method knows."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:  # noqa: ARG004
        """Them."""
        return inputs.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ARG004
        """It."""
        return gradient


class SmallMixer(nn.Module):
    """Tokens (B, 16, 8) of patches alone, from linear layers, which go through windows and may go through `Opaque`."""

    def __init__(self, *, opaque: bool = False) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 8, 8)
        self.flat = nn.Flatten(2)
        self.tokens = nn.Identity()
        self.mixing = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
        self.pairs = Pairs(8)
        self.head = nn.Linear(8, 3)
        self.unused = nn.Linear(8, 3)
        self.windows = nn.Identity()
        self.is_opaque = opaque
        self.late = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        tokens = self.tokens(self.flat(self.patches(images)).transpose(1, 2))
        mixed = self.mixing(tokens) + self.pairs(tokens)[1]
        mixed = self.windows(mixed.reshape(-1, 4, 8)).reshape(mixed.shape)
        mixed = Opaque.apply(mixed) if self.is_opaque else mixed
        logits: Tensor = self.head(self.late(mixed).mean(dim=1))
        return logits
