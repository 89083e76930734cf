"""Receptive fields in the networks of torchvision and timm, against where gradients arrive."""

from collections.abc import Callable

import pytest
import timm
import torch
from torch import nn
from torchvision.models import get_model

from vitrine.attribution.receptive_field.receptive_field import ReceptiveFields

Box = tuple[int, int, int, int]
SeenBoxes = Callable[..., list[Box]]
Positive = Callable[[nn.Module], nn.Module]


def spread(fields: ReceptiveFields) -> list[tuple[int, int]]:
    """A corner, the others' edges, and the centre of a layer's map."""
    assert fields.map_size
    rows, columns = fields.map_size
    return [(0, 0), (0, columns // 2), (rows - 1, columns - 1), (rows // 2, 0), (rows // 2, columns // 2)]


EXACT = [
    ("alexnet", ["features.0", "features.2", "features.6", "features.12"], (3, 95, 127)),
    ("vgg11", ["features.0", "features.5", "features.10", "features.20"], (3, 67, 96)),
    ("squeezenet1_0", ["features.2", "features.4", "features.6", "features.12.expand3x3"], (3, 96, 77)),
    ("resnet18", ["maxpool", "layer1.1", "layer2.0.downsample.0", "layer3.0.conv1", "layer4"], (3, 96, 129)),
    ("mobilenet_v2", ["features.2", "features.4.conv.1", "features.7", "features.18"], (3, 96, 65)),
    ("densenet121", ["features.denseblock1.denselayer2", "features.transition1", "features.norm5"], (3, 64, 97)),
    ("shufflenet_v2_x0_5", ["maxpool", "stage2.0", "stage2", "stage3", "conv5"], (3, 96, 127)),
    ("googlenet", ["maxpool1", "inception3a", "inception4a.branch4.0", "inception5b"], (3, 96, 128)),
    ("inception_v3", ["Mixed_5b", "Mixed_6a", "Mixed_6b.branch7x7_2", "Mixed_7c"], (3, 107, 140)),
    ("convnext_tiny", ["features.0", "features.1.0", "features.2", "features.3.1", "features.5.8"], (3, 96, 130)),
    ("mobilenet_v3_small", ["features.0", "features.1.block.0", "features.1", "features.4"], (3, 64, 96)),
    ("regnet_y_400mf", ["stem", "trunk_output.block1.block1-0.f.b", "trunk_output.block1"], (3, 64, 96)),
]


@pytest.mark.parametrize(("name", "layers", "size"), EXACT, ids=[name for name, _, _ in EXACT])
def test_networks_of_torchvision(
    name: str, layers: list[str], size: tuple[int, ...], seen_boxes: SeenBoxes, positive: Positive
) -> None:
    model = positive(small(name))
    for layer in layers:
        fields = ReceptiveFields(model, layer, size)
        units = spread(fields)
        assert [fields.of(unit) for unit in units] == seen_boxes(model, layer, units, size), layer


def small(name: str) -> nn.Module:
    """A network of torchvision without a large classifier."""
    torch.manual_seed(0)
    options = {"init_weights": False} if name in {"googlenet", "inception_v3"} else {}
    with torch.device("meta" if name in {"alexnet", "vgg11"} else "cpu"):
        model: nn.Module = get_model(name, weights=None, num_classes=3, **options)
    if name in {"alexnet", "vgg11"}:
        model.classifier = nn.Linear({"alexnet": 256 * 6 * 6, "vgg11": 512 * 7 * 7}[name], 3)
        model.to_empty(device="cpu")
    return model


def test_windows_of_attention(seen_boxes: SeenBoxes, positive: Positive) -> None:
    # features.1.0 attends within windows of 7 × 7 cells, features.1.1 within the same moved by 3, which wrap round borders.
    model, size = positive(small("swin_t")), (3, 224, 112)
    for layer in ("features.0", "features.1.0", "features.2", "features.3.0"):
        fields = ReceptiveFields(model, layer, size)
        units = spread(fields)
        assert [fields.of(unit) for unit in units] == seen_boxes(model, layer, units, size, channel_axis=3), layer
    windows = ReceptiveFields(model, "features.1.0", size)
    assert windows.of((8, 8), clip=False) == windows.of((8, 8)) == (28, 28, 56, 56)


def test_tokens_of_a_vision_transformer() -> None:
    model = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=2, num_classes=3)
    assert ReceptiveFields(model, "patch_embed.proj", (3, 64, 64)).of((1, 3)) == (48, 16, 64, 32)
    norm = ReceptiveFields(model, "blocks.0.norm1", (3, 64, 64))
    assert norm.map_size is None
    assert norm.of(None) == (0, 0, 64, 64)


def test_a_map_behind_attention_sees_the_whole_image() -> None:
    model = timm.create_model("mobilevit_xxs", num_classes=3)  # tokens in its middle
    fields = ReceptiveFields(model, "stages.2.1.conv_fusion", (3, 64, 96))
    assert fields.of((0, 0)) == fields.of((0, 0), clip=False) == (0, 0, 96, 64)


def test_real_relus_and_maxima_see_no_more(seen_boxes: SeenBoxes) -> None:
    model = small("squeezenet1_0").double().eval()  # weights of both signs: ReLUs close ways
    size = (3, 96, 77)
    for layer in ("features.3", "features.7", "features.12"):
        fields = ReceptiveFields(model, layer, size)
        for unit in spread(fields):
            (seen,) = seen_boxes(model, layer, [unit], size)
            x0, y0, x1, y1 = fields.of(unit)
            assert x0 <= seen[0] < seen[2] <= x1
            assert y0 <= seen[1] < seen[3] <= y1
