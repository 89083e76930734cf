"""Small transformers in many spellings of one network, for attention methods."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH, HEADS = 8, 2
Spelling = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Attention of (B, h, N, d) queries, keys and values."""


def weights_of(q: Tensor, k: Tensor) -> Tensor:
    return (q @ k.mT * q.shape[-1] ** -0.5).softmax(dim=-1)


def by_bmm(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = F.softmax(torch.bmm(q.flatten(0, 1), k.flatten(0, 1).mT) * q.shape[-1] ** -0.5, dim=-1)
    return torch.bmm(weights, v.flatten(0, 1)).view_as(v)


def heads_before_images(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (x.transpose(0, 1).flatten(0, 1) for x in (q, k, v))
    return torch.bmm(weights_of(q, k), v).unflatten(0, (HEADS, -1)).transpose(0, 1)


def by_exponentials(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    powers = torch.exp(q @ k.mT * q.shape[-1] ** -0.5)
    return (powers / powers.sum(dim=-1, keepdim=True)) @ v


def by_einsum(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = torch.einsum("bhid,bhjd->bhij", q, k) * q.shape[-1] ** -0.5
    return torch.einsum("bhij,bhjd->bhid", scores.softmax(-1), v)


SPELLINGS: dict[str, Spelling] = {
    "matmul": lambda q, k, v: weights_of(q, k) @ v,
    "fused": F.scaled_dot_product_attention,
    "fused, masked": lambda q, k, v: F.scaled_dot_product_attention(
        q * 4, k, v, attn_mask=torch.ones(q.shape[2], q.shape[2], dtype=torch.bool), scale=q.shape[-1] ** -0.5 / 4
    ),
    "transposed": lambda q, k, v: (v.mT @ weights_of(q, k).mT).mT,
    "bmm": by_bmm,
    "heads before images": heads_before_images,
    "einsum": by_einsum,
    "einsum of values first": lambda q, k, v: torch.einsum("...jd, ...ij -> ...id", v, weights_of(q, k)),
    "exponentials": by_exponentials,
}  # fmt: skip


class Block(nn.Module):
    """Attention and a perceptron, each added to the tokens."""

    def __init__(self, spelling: Spelling, *, norm_first: bool = True) -> None:
        super().__init__()
        self.spelling, self.norm_first = spelling, norm_first
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def attention(self, x: Tensor) -> Tensor:
        q, k, v = (y.unflatten(2, (HEADS, -1)).transpose(1, 2) for y in self.qkv(x).chunk(3, dim=-1))
        mixed: Tensor = self.proj(self.spelling(q, k, v).transpose(1, 2).flatten(2))
        return mixed

    def forward(self, x: Tensor) -> Tensor:
        if self.norm_first:
            x = x + self.attention(self.norm1(x))
            return x + self.mlp(self.norm2(x))
        x = self.norm1(x + self.attention(x))
        out: Tensor = self.norm2(x + self.mlp(x))
        return out


class SmallTransformer(nn.Module):
    """Patches of 4 pixels, class and register tokens, blocks, and a head on what is read."""

    def __init__(
        self,
        spelling: Spelling = SPELLINGS["matmul"],
        *,
        depth: int = 3,
        extra: int = 1,
        read: str = "class",
        norm_first: bool = True,
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 4, 4)
        self.extra = nn.Parameter(torch.randn(1, extra, WIDTH))
        self.blocks = nn.ModuleList(Block(spelling, norm_first=norm_first) for _ in range(depth))
        self.norm, self.head, self.other_head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 5), nn.Linear(WIDTH, 5)
        self.read = read

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).mT
        x = torch.cat([self.extra.expand(len(x), -1, -1), x], dim=1)
        for block in self.blocks:
            x = block(x)
        x, count = self.norm(x), self.extra.shape[1]
        if self.read == "mean":
            return self.head(x[:, count:].mean(dim=1))
        if self.read == "two":
            return (self.head(x[:, 0]) + self.other_head(x[:, 1])) / 2
        if self.read == "class and mean":
            return self.head(x[:, 0]) + self.other_head(x[:, count:].mean(dim=1))
        return self.head(x[:, 0])


def small_transformer(*args: object, seed: int = 0, **options: object) -> SmallTransformer:
    """In float64, with weights that make attention differ between tokens."""
    torch.manual_seed(seed)
    model = SmallTransformer(*args, **options).double().eval()  # type: ignore[arg-type]
    for block in model.blocks:
        nn.init.normal_(block.qkv.weight, std=0.8)  # type: ignore[union-attr, arg-type]
    return model


def images(count: int = 3) -> Tensor:
    return torch.randn(count, 3, 12, 16, generator=torch.Generator().manual_seed(1)).double()


def attention_matrices(model: SmallTransformer, inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The logits, and the (B, h, N, N) weights of every block with their gradients retained, by plain autograd."""
    kept: list[Tensor] = []

    def keeping(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        weights = weights_of(q, k)
        weights.retain_grad()
        kept.append(weights)
        return weights @ v

    before = [block.spelling for block in model.blocks]
    for block in model.blocks:
        block.spelling = keeping  # type: ignore[assignment]
    logits = model(inputs)
    for block, spelling in zip(model.blocks, before, strict=True):
        block.spelling = spelling
    return logits, kept
