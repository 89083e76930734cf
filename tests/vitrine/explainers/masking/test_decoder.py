"""The decoder's masks: their range, resolution, class and independence of the batch."""

import torch
from torch import Tensor

from vitrine.explainers.masking.decoder import MaskDecoder


def maps(rows: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    shapes = [(6, 12, 10), (10, 6, 5), (14, 3, 2)]
    return [torch.randn(rows, *shape, generator=generator, dtype=torch.float64) for shape in shapes]


def decoder() -> MaskDecoder:
    torch.manual_seed(1)
    return MaskDecoder([6, 10, 14], num_classes=4, width=16).double()


def test_masks_are_shares_at_the_finest_resolution() -> None:
    masks = decoder()(maps(), torch.tensor([0, 3, 1])).detach()
    assert masks.shape == (3, 1, 12, 10)
    assert 0 <= float(masks.min()) < float(masks.max()) <= 1


def test_a_mask_is_that_of_its_row_and_its_class_alone() -> None:
    network, classes = decoder(), torch.tensor([0, 3, 1])
    together = network(maps(), classes)
    for row in range(3):
        alone = network([one[row : row + 1] for one in maps()], classes[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone)
    others = network(maps(), torch.tensor([2, 3, 1]))
    assert (others[0] - together[0]).abs().max() > 1e-4
    torch.testing.assert_close(others[1:], together[1:])


def test_the_selector_passes_places_that_look_like_the_class() -> None:
    """With one map there is nothing but σ(Xᵀ C) X, which is transcribed here."""
    torch.manual_seed(4)
    network = MaskDecoder([5], num_classes=3, width=8).double()
    features, label = torch.randn(1, 5, 4, 4, dtype=torch.float64), 2
    normed = (features - features.mean()) / (features.var(correction=0) + 1e-5).sqrt()
    gate = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    for y in range(4):
        for x in range(4):
            gate[0, 0, y, x] = 1 / (1 + torch.exp(-(normed[0, :, y, x] * network.selector.weight[label]).sum()))
    a, b = network.last(network.inputs[0](normed * gate)).abs().unbind(dim=1)
    torch.testing.assert_close(network([features], torch.tensor([label]))[:, 0], a / (a + b))


def test_gradients_reach_every_parameter_and_no_other_class() -> None:
    network = decoder()
    network(maps(), torch.tensor([0, 3, 1])).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert network.selector.weight.grad is not None
    reached = network.selector.weight.grad.abs().sum(dim=1) > 0
    assert reached.tolist() == [True, True, False, True]
