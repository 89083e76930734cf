"""Token flows of networks whose tokens go other ways than in a plain transformer, and of those that have none."""

from collections.abc import Callable

import pytest
import timm
import torch
from torch import Tensor, nn

from tests.helpers.small_transformers import Block, SmallTransformer, images, small_transformer, weights_of
from vitrine.attribution.attention.token_flow import NOWHERE, PATCHES, UnfitNetworkError, shares, token_flow
from vitrine.backbones.guard import eval_guard


def test_shares_of_pools() -> None:
    rows = torch.tensor([[0.0, 0], [2, 1], [1, 1], [1, 1], [1, 1], [1, 1]]).double()
    torch.testing.assert_close(shares(rows), torch.tensor([0, 4, 1, 1, 1, 1]).double() / 8)
    assert not shares(torch.zeros(3, 2)).any()


def test_a_plain_chain() -> None:
    model = small_transformer(extra=2)
    with eval_guard(model):
        flow = token_flow(model, images())
    assert flow.grid.tokens.tolist() == torch.arange(2, 14).view(3, 4).tolist()
    assert flow.weights.nonzero().flatten().tolist() == [0]
    for number, step in flow.steps.items():
        assert step.queries is not None
        read = step.queries.row if number < 2 else step.queries.row[:1]
        assert read.tolist() == list(range(len(read)))
        for states in (step.values, step.queries)[: 2 if number < 2 else 1]:
            assert states.attention.unique().tolist() == [number - 1 if number else PATCHES]
            assert states.row.tolist() == list(range(14))


def test_side_by_side_attention_is_one_after_the_other() -> None:
    class Parallel(Block):
        def forward(self, x: Tensor) -> Tensor:
            return x + self.attention(self.norm1(x)) + self.attention(self.norm2(x))

    model = small_transformer(extra=0, read="mean")
    model.blocks = nn.ModuleList(Parallel(weights_times_values) for _ in range(2)).double()
    with eval_guard(model):
        flow = token_flow(model, images())
    queries = [step.queries for _, step in sorted(flow.steps.items())]
    assert [q.attention.unique().tolist() for q in queries if q is not None] == [[PATCHES], [0], [1], [2]]


def test_a_class_token_that_comes_late() -> None:
    model = timm.create_model("cait_xxs24_224", img_size=64, num_classes=3, depth=2).double().eval()
    with eval_guard(model):
        flow = token_flow(model, torch.rand(1, 3, 64, 64).double())
    first, second = flow.steps[2], flow.steps[3]
    assert first.values.attention.tolist() == [NOWHERE, *[1] * 16]
    assert second.values.attention.tolist() == [2, *[1] * 16]
    assert second.values.row.tolist() == [0, *range(16)]
    assert first.queries is not None
    assert first.queries.attention.tolist() == [NOWHERE]
    assert second.queries is not None
    assert second.queries.attention.tolist() == [2]


def test_attention_pooling_is_added_to_nothing() -> None:
    model = timm.create_model("vit_base_patch16_siglip_224", img_size=64, depth=2, embed_dim=24, num_heads=2).eval()
    with eval_guard(model):
        flow = token_flow(model, torch.rand(1, 3, 64, 64))
    assert flow.steps[2].queries is None
    assert flow.steps[2].num_rows == 1
    assert flow.readout.attention.tolist() == [2]
    assert flow.steps[1].queries is not None


def weights_times_values(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return weights_of(q, k) @ v


def windows(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    parts = [x.unflatten(2, (-1, 4)) for x in (q, k, v)]
    return weights_times_values(*parts).flatten(2, 3)


def channels(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return ((q.mT @ k).softmax(-1) @ v.mT).mT


def linear(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return q.softmax(-1) @ (k.softmax(2).mT @ v)


class Convolving(Block):
    """A block that mixes neighbours of its tokens too."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + x.roll(1, dims=1)


def convolving() -> SmallTransformer:
    model = small_transformer(extra=0, read="mean")
    model.blocks = nn.ModuleList(Convolving(weights_times_values) for _ in range(2)).double()
    return model


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: small_transformer(windows, extra=0, read="mean"), "first attention"),
        (lambda: small_transformer(channels, extra=0, read="mean"), "first attention"),
        (lambda: small_transformer(linear, extra=0, read="mean"), "other queries than keys"),
        (convolving, "tokens (mix|are merged)"),
        (lambda: small_transformer(depth=0, extra=0, read="mean"), "depend on none"),
    ],
)
def test_other_mixtures_of_tokens_are_refused(make: Callable[[], nn.Module], reason: str) -> None:
    model = make()
    with eval_guard(model), pytest.raises(UnfitNetworkError, match=reason):
        token_flow(model, images())
