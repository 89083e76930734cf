"""Where filters respond most: maxima and their places against loops, and responses limited to a class."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrine.backbones.frozen import FrozenBackbone
from vitrine.filters import FilterResponses
from vitrine.filters.maxima import TargetFilter, filter_maxima, restrict_to_classes


class Net(nn.Module):
    """A map of 4 channels, and a layer without places."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Conv2d(3, 4, 3, padding=1)
        self.hidden = nn.Linear(4, 5)
        self.logits = nn.Linear(5, 2)

    def forward(self, images: Tensor) -> Tensor:
        output: Tensor = self.logits(F.relu(self.hidden(F.relu(self.map(images)).mean(dim=(2, 3)))))
        return output


@pytest.fixture
def responses() -> FilterResponses:
    torch.manual_seed(0)
    return FilterResponses(FrozenBackbone(Net()), layers=["map", "hidden"], image_size=8)


IMAGES = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_maxima_and_their_places(responses: FilterResponses) -> None:
    spatial, flat = responses.layers
    wanted = [TargetFilter(spatial, 2), TargetFilter(flat, 4), TargetFilter(spatial, 0)]
    found = filter_maxima(responses, IMAGES, wanted)
    outputs = responses.backbone(IMAGES, taps=["map", "hidden"]).taps
    for number, channel in ((0, 2), (2, 0)):
        for image in range(3):
            channel_map = outputs["map"][image, channel]
            row, column = found.locations[image, number].tolist()
            assert channel_map[row, column] == channel_map.max() == found.maxima[image, number]
    torch.testing.assert_close(found.maxima[:, 1], outputs["hidden"][:, 4])
    assert (found.locations[:, 1] == -1).all()
    x = responses(IMAGES)["features"]
    torch.testing.assert_close(found.responses, x[:, [2, 4 + 4, 0]])


def test_of_equal_maxima_the_first_in_row_order_counts(responses: FilterResponses) -> None:
    found = filter_maxima(responses, torch.zeros(1, 3, 8, 8), [TargetFilter(responses.layers[0], 1)])
    row, column = found.locations[0, 0].tolist()
    channel_map = responses.backbone(torch.zeros(1, 3, 8, 8), taps=["map"]).taps["map"][0, 1]
    assert row * 8 + column == int((channel_map == channel_map.max()).flatten().nonzero()[0])


@pytest.mark.parametrize("labels", [torch.tensor([0, 1, 1]), torch.tensor([[1.0, 0], [0, 1], [1, 1]])])
def test_a_filter_that_is_wanted_on_a_class_responds_to_that_class_alone(
    labels: Tensor, responses: FilterResponses
) -> None:
    layer = responses.layers[0]
    wanted = [TargetFilter(layer, 0), TargetFilter(layer, 1, of_class=0), TargetFilter(layer, 2, of_class=1)]
    given = torch.ones(3, 3)
    limited = restrict_to_classes(given, labels, wanted)
    hot = labels if labels.ndim == 2 else F.one_hot(labels, 2)
    torch.testing.assert_close(limited, torch.cat([torch.ones(3, 1), hot.float()], dim=1))
    assert (given == 1).all()
