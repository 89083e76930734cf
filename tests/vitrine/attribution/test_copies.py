"""Methods of copies: which run together, what is added up, targets, and baselines."""

import pytest
import torch
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.copies import MethodOfCopies, expand_baseline, no_maps
from vitrine.attribution.targets import Target

IMAGES = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))


class GradientsOfCopies(MethodOfCopies):
    """Σ w_n ∂f/∂x over three copies with weights 1, 2, 3 of an image; of the gradients themselves where squared."""

    gradient_like = True
    squared = False

    @override
    def maps(self, inputs: Tensor, target: Target) -> Tensor:
        target, total = self.with_indices(inputs, target), no_maps(self, inputs, target)
        for images, numbers in self.copies_of(len(inputs), 3, at_once=2):
            weights = None if self.squared else numbers + 1.0
            self.summed_gradients(inputs[images], images, weights, target, total)
        return total


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(60, 4))


@pytest.mark.parametrize("bound", [None, 1, 4, 100])
@pytest.mark.parametrize("squared", [False, True])
def test_gradients_of_all_copies_are_added_to_their_images(bound: int | None, squared: bool) -> None:
    network, targets = model(), torch.tensor([[1, 3], [2, 0]])
    method = GradientsOfCopies(network, internal_batch_size=bound)
    method.squared = squared
    gradient = network[1].weight.detach().view(4, 3, 4, 5)[targets]  # type: ignore[operator]
    expected = 3 * gradient.square() if squared else 6 * gradient
    torch.testing.assert_close(method.attribute(IMAGES, targets), expected)


@pytest.mark.parametrize(("bound", "sizes"), [(None, [5, 5, 5]), (4, [4, 4, 4, 3]), (100, [15])])
def test_each_batch_takes_the_next_copies(bound: int | None, sizes: list[int]) -> None:
    batches = list(GradientsOfCopies(model(), internal_batch_size=bound).copies_of(3, 5, at_once=5))
    assert [len(images) for images, _ in batches] == sizes
    pairs = [pair for batch in batches for pair in zip(*map(Tensor.tolist, batch), strict=True)]
    assert pairs == [(image, number) for image in range(3) for number in range(5)]


def test_the_predicted_class_of_each_image() -> None:
    network = model()
    predicted = network(IMAGES).argmax(dim=1)
    torch.testing.assert_close(
        GradientsOfCopies(network).attribute(IMAGES), GradientsOfCopies(network).attribute(IMAGES, predicted)
    )


@pytest.mark.parametrize("shape", [(), (1,), (3, 1, 1), (1, 3, 4, 5), (2, 1, 1, 1)])
def test_baselines_that_broadcast(shape: tuple[int, ...]) -> None:
    expanded = expand_baseline(torch.full(shape, 0.5, dtype=torch.float64), IMAGES)
    assert expanded.shape == IMAGES.shape
    assert expanded.dtype == IMAGES.dtype
    assert (expanded == 0.5).all()
    assert (expand_baseline(0.5, IMAGES) == 0.5).all()


def test_baselines_that_do_not_fit_or_are_no_numbers() -> None:
    with pytest.raises(
        ValueError, match=r"baseline of shape \(3, 3, 1, 1\) does not fit inputs of shape \(2, 3, 4, 5\)"
    ):
        expand_baseline(torch.zeros(3, 3, 1, 1), IMAGES)
    for value, shown in ((float("nan"), "nan"), (torch.tensor([float("inf")]), "a tensor with NaN or infinity")):
        with pytest.raises(ValueError, match=f"baseline is {shown}"):
            expand_baseline(value, IMAGES)
