"""Mass is conserved on small networks without biases and negative weights, made of the operators of today's networks."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrine.attribution import ExcitationBackprop

SIZE, PATCHES = 8, 16
Block = Callable[["Layers", Tensor], Tensor]
"""(B, N, D) tokens from (B, N, D) tokens, of a grid of 4 × 4."""


class Layers(nn.Module):
    """Layers that blocks use, without biases and negative weights."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(3, SIZE, 2, stride=2, bias=False)
        self.packed = nn.Linear(SIZE, 3 * SIZE, bias=False)
        self.linear = nn.Linear(SIZE, SIZE, bias=False)
        self.up = nn.Linear(SIZE, 4 * SIZE, bias=False)
        self.down = nn.Linear(2 * SIZE, SIZE, bias=False)
        self.talk = nn.Linear(2, 2, bias=False)
        self.depthwise = nn.Conv2d(SIZE, SIZE, 3, padding=1, groups=SIZE, bias=False)
        self.spatial = nn.Linear(PATCHES, PATCHES, bias=False)
        self.strided = nn.Conv2d(SIZE, SIZE, 2, stride=2, bias=False)
        self.attention = nn.MultiheadAttention(SIZE, 2, bias=False, batch_first=True)
        self.scale = nn.Parameter(torch.rand(SIZE))
        self.token = nn.Parameter(torch.zeros(1, 1, SIZE))
        self.positions = nn.Parameter(torch.randn(1, PATCHES, SIZE) / 10)
        self.head = nn.Linear(SIZE, 5, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                module.weight.data.abs_()
        self.attention.in_proj_weight.data.abs_()

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (B, 2, N, D / 2)."""
        q, k, v = self.packed(x).unflatten(-1, (3, 2, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return q, k, v


class Net(nn.Module):
    """Patches, a block, and a head on their mean."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.layers, self.block = Layers(), block

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.layers.patches(images).flatten(2).mT
        logits: Tensor = self.layers.head(self.block(self.layers, tokens).mean(1))
        return logits


def as_map(x: Tensor) -> Tensor:
    return x.mT.unflatten(2, (4, 4))


def as_tokens(x: Tensor) -> Tensor:
    return x.flatten(2).mT


def joined(heads: Tensor) -> Tensor:
    return heads.transpose(1, 2).flatten(2)


def attention_by_hand(layers: Layers, x: Tensor) -> Tensor:
    q, k, v = layers.heads(x)
    logits = layers.talk((q @ k.mT / 2).movedim(1, 3)).movedim(3, 1)
    return joined(layers.talk(logits.softmax(-1).movedim(1, 3)).movedim(3, 1) @ v)


def windows(layers: Layers, x: Tensor) -> Tensor:
    """Attention within 2 × 2 windows of a shifted grid, with a mask and a bias, as in Swin."""
    shifted = x.unflatten(1, (4, 4)).roll((-1, -1), (1, 2))
    parts = shifted.view(-1, 2, 2, 2, 2, SIZE).transpose(2, 3).reshape(-1, 4, SIZE)
    q, k, v = layers.heads(parts)
    logits = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT + torch.linspace(-1, 1, 16).view(4, 4)
    logits = logits.view(-1, 4, 2, 4, 4) + torch.tensor([0.0, 0, 0, -100]).view(4, 1, 1, 1)
    attended = joined(logits.view(-1, 2, 4, 4).softmax(-1) @ v)
    merged = attended.view(-1, 2, 2, 2, 2, SIZE).transpose(2, 3).reshape(-1, 4, 4, SIZE)
    return merged.roll((1, 1), (1, 2)).flatten(1, 2)


def over_channels(layers: Layers, x: Tensor) -> Tensor:
    """Attention of channels, as in XCiT."""
    q, k, v = (part.mT for part in layers.heads(x))
    return joined(((F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT * 2).softmax(-1) @ v).mT)


def linear_attention(layers: Layers, x: Tensor) -> Tensor:
    """relu(q) (relu(k)ᵀ v) by its normaliser, which one more column of v gives, as in EfficientViT."""
    q, k, v = layers.heads(x)
    mixed = F.relu(q) @ (F.relu(k).mT @ F.pad(v, (0, 1), value=1.0))
    return joined(mixed[..., :-1] / (mixed[..., -1:] + 1e-6))


def separable(layers: Layers, x: Tensor) -> Tensor:
    """As in MobileViT v2."""
    _, k, v = layers.packed(x).chunk(3, dim=-1)
    context = (x.mean(-1, keepdim=True).softmax(1) * k).sum(1, keepdim=True)
    return F.relu(v) * context.expand_as(v)


def with_tokens(layers: Layers, x: Tensor) -> Tensor:
    x = torch.cat([layers.token.expand(len(x), -1, -1), x + layers.positions.abs()], dim=1)
    return layers.attention(x, x, x, need_weights=False)[0][:, :1].abs()


def latent(layers: Layers, x: Tensor) -> Tensor:
    """Attention pooling by a query that is learned."""
    _, k, v = layers.heads(x)
    query = layers.positions[:, :1].unflatten(-1, (2, -1)).transpose(1, 2).expand(len(x), -1, -1, -1)
    return joined(F.scaled_dot_product_attention(query, k, v))


def pooled_keys(layers: Layers, x: Tensor) -> Tensor:
    """Keys and values of a coarser grid, as in PVT."""
    q, _, _ = layers.heads(x)
    _, k, v = layers.heads(as_tokens(layers.strided(as_map(x))))
    return joined(F.scaled_dot_product_attention(q, k, v, is_causal=False, scale=0.3))


def rotary(layers: Layers, x: Tensor) -> Tensor:
    q, k, v = layers.heads(x)
    cosine, sine = torch.rand(2, PATCHES, SIZE // 2)
    q, k = (y * cosine + torch.cat([-y[..., 2:], y[..., :2]], dim=-1) * sine for y in (q, k))
    return joined(F.scaled_dot_product_attention(q, k, v))


def grouped(layers: Layers, x: Tensor) -> Tensor:
    q, k, v = layers.heads(x)
    return joined(F.scaled_dot_product_attention(q, k[:, :1], v[:, :1], enable_gqa=True))


def selective(layers: Layers, x: Tensor) -> Tensor:
    """Softmax over branches, as in SKNet and ResNeSt."""
    branches = torch.stack([layers.linear(x), x], dim=1)
    return (branches * branches.sum(1).mean(1, keepdim=True)[:, None].expand(-1, 2, -1, -1).softmax(1)).sum(1)


def swiglu(layers: Layers, x: Tensor) -> Tensor:
    gate, value = layers.up(x).chunk(2, dim=-1)
    return layers.down(F.silu(gate) * value)


def spatial_gate(layers: Layers, x: Tensor) -> Tensor:
    """As in gMLP."""
    u, v = F.gelu(layers.up(x)).chunk(2, dim=-1)
    return layers.down(u * layers.spatial(v.mT).mT)


def response(layers: Layers, x: Tensor) -> Tensor:
    """Global response normalisation, as in ConvNeXt v2."""
    norm = x.norm(p=2, dim=1, keepdim=True)
    return x + torch.addcmul(torch.zeros(SIZE), layers.scale, x * (norm / (norm.mean(-1, keepdim=True) + 1e-6)))


BLOCKS: dict[str, Block] = {
    "fused attention": lambda m, x: joined(F.scaled_dot_product_attention(*m.heads(x))),
    "causal attention": lambda m, x: joined(F.scaled_dot_product_attention(*m.heads(x), is_causal=True)),
    "grouped queries": grouped,
    "talking heads": attention_by_hand,
    "nn.MultiheadAttention": lambda m, x: m.attention(x, x, x)[0].abs(),
    "einsum": lambda m, x: torch.einsum("bij,bjd->bid", torch.einsum("bid,bjd->bij", x, x).softmax(-1), m.linear(x)),
    "shifted windows": windows,
    "attention of channels": over_channels,
    "linear attention": linear_attention,
    "separable attention": separable,
    "attention pooling": latent,
    "pooled keys": pooled_keys,
    "rotary embedding": rotary,
    "selective kernels": selective,
    "sum of similarities": lambda m, x: (m.linear(x) @ m.linear(x).mT) @ x,
    "layer norm": lambda _, x: F.layer_norm(x, (SIZE,)),
    "RMS norm": lambda m, x: F.rms_norm(x, (SIZE,), m.scale),
    "group norm": lambda _, x: as_tokens(F.group_norm(as_map(x), 2)),
    "instance norm": lambda _, x: as_tokens(F.instance_norm(as_map(x))),
    "norm by hand": lambda _, x: (x - x.mean(-1, keepdim=True)) * torch.rsqrt(x.var(-1, keepdim=True) + 1e-6),
    "global response": response,
    "GELU": lambda m, x: m.down(F.gelu(m.up(x)[..., : 2 * SIZE])),
    "hard swish": lambda m, x: F.hardswish(m.linear(x)),
    "GLU": lambda m, x: F.glu(m.packed(x)[..., : 2 * SIZE]),
    "SwiGLU": swiglu,
    "spatial gate": spatial_gate,
    "squeeze and excitation": lambda m, x: x * F.hardsigmoid(m.linear(x.mean(1, keepdim=True))),
    "gate of equal size": lambda m, x: F.relu(x) * F.gelu(m.linear(F.relu(x))),
    "layer scale": lambda m, x: x + m.scale * m.linear(x),
    "mixer": lambda m, x: x + m.spatial(x.mT).mT,
    "pooling minus itself": lambda _, x: x + as_tokens(F.avg_pool2d(as_map(x), 3, 1, 1) - 0.1 * as_map(x)).relu(),
    "depthwise": lambda m, x: as_tokens(m.depthwise(as_map(x))),
    "pixel unshuffle": lambda _, x: F.pixel_unshuffle(as_map(x), 2).flatten(2).unflatten(1, (SIZE, 4)).flatten(2).mT,
    "gather": lambda _, x: x.gather(1, x.sum(-1, keepdim=True).argsort(1).expand_as(x)),
    "token pooling": lambda _, x: x.topk(5, dim=1).values,
    "stochastic depth and dropout off": lambda m, x: x + F.dropout(m.linear(x), 0.5, training=False),
    "a product with a parameter": lambda m, x: x @ m.linear.weight,
}


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("attention", ["values", "shared"])
def test_mass_is_conserved(name: str, attention: str) -> None:
    images = torch.rand(2, 3, 8, 8)
    method = ExcitationBackprop(Net(BLOCKS[name]), attention=attention)  # type: ignore[arg-type]
    maps = method.attribute(images, torch.tensor([[0, 3], [4, 1]]))
    assert maps.min() >= 0
    torch.testing.assert_close(maps.sum((-3, -2, -1)), torch.ones(2, 2), atol=1e-5, rtol=0)


def test_mass_of_a_learned_token_is_lost_and_accounted_for() -> None:
    net, images = Net(with_tokens), torch.rand(2, 3, 8, 8)
    net.layers.token.data.fill_(0.1)
    method = ExcitationBackprop(net)
    lost = method.mass_lost(method.attribute(images, 1))
    assert ((lost > 1e-3) & (lost < 0.99)).all()
    net.layers.token.data.zero_()
    maps = method.attribute(images, 1)
    torch.testing.assert_close(method.mass_lost(maps), torch.zeros(2), atol=1e-5, rtol=0)
