"""Learned masks: which row belongs to which image, target and mask, and how many are learned at once."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.perturbation.learned_mask import LearnedMask
from vitrine.attribution.perturbation.scores import Score

IMAGES = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))


class Telling(LearnedMask):
    """Masks of the score of the row's target, a thousand for each number of the mask."""

    explains_probabilities = True
    iterations = 3

    def __init__(self, model: nn.Module, count: int = 1, internal_batch_size: int | None = None) -> None:
        super().__init__(model, internal_batch_size=internal_batch_size)
        self.count, self.progress = count, False
        self.rows: list[int] = []

    @property
    @override
    def masks_per_target(self) -> int:
        return self.count

    @override
    def learn(self, images: Tensor, mask_numbers: Tensor, score: Score, advance: Callable[[int], None]) -> Tensor:
        self.rows.append(len(images))
        for _ in range(self.iterations):
            advance(1)
        return (score(images) + 1000 * mask_numbers)[:, None, None, None].expand(-1, 1, *images.shape[2:])


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(60, 4))


@pytest.mark.parametrize("size", [None, 1, 3])
def test_rows_belong_to_images_and_targets(size: int | None) -> None:
    network, targets = model(), torch.tensor([[1, 3, 0], [2, 0, 2]])
    method = Telling(network, internal_batch_size=size)
    maps = method.attribute(IMAGES, targets)
    assert maps.shape == (2, 3, 1, 4, 5)
    torch.testing.assert_close(maps[..., 0, 0, 0], network(IMAGES).softmax(dim=1).gather(1, targets).detach())
    assert sum(method.rows) == 6
    assert max(method.rows) == (size or 6)


def test_a_map_is_the_sum_of_its_masks() -> None:
    network = model()
    maps = Telling(network, count=3).attribute(IMAGES, torch.tensor([1, 2]))
    probability = network(IMAGES).softmax(dim=1)[[0, 1], [1, 2]].detach()
    torch.testing.assert_close(maps[:, 0, 0, 0], 3 * probability + 3000)
