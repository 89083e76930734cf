"""The pass whose features are kept: its precision and format reach the network, which stays as it was."""

import pytest
import torch
from torch import Tensor, nn

from vitrine.backbones.features import TappedFeatures
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.data.feature_store.pass_options import PassOptions, TunedExtractor


def extractor() -> TappedFeatures:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)]
    return TappedFeatures(FrozenBackbone(nn.Sequential(*layers)), "1")


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-6), ("bfloat16", 2e-2)])
def test_features_are_those_of_a_call(channels_last: bool, precision: str, tolerance: float) -> None:
    plain, images = extractor(), torch.rand(2, 3, 8, 8)
    strides = [one.stride() for one in plain.backbone.model.state_dict().values()]
    tuned = TunedExtractor(plain, PassOptions(precision, channels_last))  # type: ignore[arg-type]
    found, expected = tuned(images), plain(images)
    for name in ("features", "logits"):
        torch.testing.assert_close(found[name].float(), expected[name], atol=tolerance, rtol=tolerance)
    assert [one.stride() for one in plain.backbone.model.state_dict().values()] == strides
    assert tuned.belongs_to == plain.belongs_to


def test_what_the_network_gets() -> None:
    seen: list[Tensor] = []
    options = PassOptions("bfloat16", channels_last=True)

    def function(images: Tensor) -> dict[str, Tensor]:
        seen.append(images)
        return {"logits": images.flatten(1) @ images.flatten(1).T}

    found = options.run(function, torch.rand(2, 3, 4, 4))  # type: ignore[arg-type]
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert found["logits"].dtype == torch.bfloat16
    assert not torch.is_autocast_enabled("cpu")


def test_features_of_other_options_are_kept_apart_and_plain_ones_stay_where_they_are() -> None:
    plain = extractor()
    every = [PassOptions(), PassOptions("bfloat16"), PassOptions(channels_last=True)]
    keys = [TunedExtractor(plain, options).key for options in every]
    assert keys[0] == plain.key
    assert len(set(keys)) == 3


def test_another_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="precision"):
        PassOptions("float64")  # type: ignore[arg-type]
