"""A training pass gives the same terms, contributions and steps whether heads pass side by side or one by one."""

import pytest
import torch
from torch import Tensor
from torch.optim import Adam

from vitrine.explainers.srae.heads import SeparateHeads
from vitrine.explainers.srae.objectives import OBJECTIVES
from vitrine.explainers.srae.training_pass import TrainingPass


def passes(name: str = "srae", positions: int = 1, over: str = "images") -> tuple[TrainingPass, TrainingPass]:
    """Of equal heads: side by side, and one by one."""
    found = []
    for _ in range(2):
        torch.manual_seed(0)
        heads = SeparateHeads(4, 7, 3, (6, 5), positions=positions, decoder=OBJECTIVES[name].has_decoder).double()
        found.append(TrainingPass(list(heads), OBJECTIVES[name], 2.0, over))
    found[1].stacked = None
    assert found[0].stacked is not None
    return found[0], found[1]


def samples(positions: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    features = torch.rand(6, 7 * positions, dtype=torch.float64, generator=generator)
    logits = torch.randn(6, 4, dtype=torch.float64, generator=generator)
    weights = torch.randint(0, 3, (6, 4), generator=generator).double()
    weights[:, 2] = 0  # a head without a sample in this batch
    return features, logits, weights


@pytest.mark.parametrize("name", ["srae", "nn", "sae"])
@pytest.mark.parametrize("positions", [1, 3])
@pytest.mark.parametrize("over", ["images", "features"])
def test_side_by_side_equals_one_by_one(name: str, positions: int, over: str) -> None:
    together, apart = passes(name, positions, over)
    optimizers = [Adam([p for head in one.heads for p in head.parameters()], lr=0.01) for one in (together, apart)]
    for _ in range(3):
        found = [one(*samples(positions)) for one in (together, apart)]
        for mine, other in zip(found[0].terms, found[1].terms, strict=True):
            torch.testing.assert_close(mine, other)
        torch.testing.assert_close(found[0].contributions, found[1].contributions)
        torch.testing.assert_close(found[0].estimates, found[1].estimates)
        for one, optimizer in zip(found, optimizers, strict=True):
            optimizer.zero_grad()
            torch.autograd.backward(one.terms.summed().total(5.0, 0.5))
            optimizer.step()
    for mine_head, other_head in zip(together.heads, apart.heads, strict=True):
        for mine, other in zip(mine_head.parameters(), other_head.parameters(), strict=True):
            torch.testing.assert_close(mine, other)


def test_sums_over_images_stay_in_float32_under_autocast() -> None:
    together, _ = passes()
    for head in together.heads:
        head.float()
    features, logits, weights = (value.float() for value in samples())
    exact = together(features, logits, weights).terms
    with torch.autocast("cpu", torch.bfloat16):
        rounded = together(features, logits, weights).terms
    for mine, other in zip(rounded, exact, strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine, other, rtol=0.05, atol=0.05)
