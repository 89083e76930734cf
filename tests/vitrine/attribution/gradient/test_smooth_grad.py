import pytest
import torch
from captum import attr
from torch import Tensor, nn

from vitrine.attribution.gradient.saliency import Saliency
from vitrine.attribution.gradient.smooth_grad import SmoothGrad
from vitrine.backbones.batch_mixing import mixes_batch


def net() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(27, 4)]
    return nn.Sequential(*layers)


def images(batch: int = 3) -> Tensor:
    return torch.randn(batch, 3, 6, 6, generator=torch.Generator().manual_seed(1))


TARGETS = torch.tensor([[0, 3], [1, 1], [2, 0]])


@pytest.mark.parametrize("absolute", [True, False])
def test_without_noise_it_is_saliency(absolute: bool) -> None:
    model = net().double()
    actual = SmoothGrad(model, noise=0, absolute=absolute).attribute(images().double(), TARGETS)
    torch.testing.assert_close(actual, Saliency(model, absolute=absolute).attribute(images().double(), TARGETS))
    squared = SmoothGrad(model, noise=0, squared=True).attribute(images().double(), TARGETS)
    torch.testing.assert_close(squared, actual.square())


@pytest.mark.parametrize(("squared", "kind"), [(False, "smoothgrad"), (True, "smoothgrad_sq")])
@pytest.mark.parametrize("seed", [0, 5])
def test_equals_captums_noise_tunnel_on_one_image(squared: bool, kind: str, seed: int) -> None:
    model = net()
    actual = SmoothGrad(model, n_samples=7, noise=0.2, squared=squared, absolute=False, seed=seed).attribute(
        images(), 2
    )
    for row, image in enumerate(images()):
        torch.manual_seed(seed)
        deviation = 0.2 * float(image.max() - image.min())
        tunnel = attr.NoiseTunnel(attr.Saliency(model))
        options = {"nt_type": kind, "nt_samples": 7, "stdevs": deviation, "target": 2, "abs": False}
        torch.testing.assert_close(actual[row], tunnel.attribute(image[None], **options)[0])


def test_the_gradient_of_a_square_is_twice_the_mean_of_the_noisy_images() -> None:
    class Squares(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.square().flatten(1).sum(1, keepdim=True)

    x = images()
    actual = SmoothGrad(Squares(), n_samples=400, noise=0.1, absolute=False).attribute(x, 0)
    off = actual / 2 - x
    scale = 0.1 * (x.amax((1, 2, 3)) - x.amin((1, 2, 3))).view(3, 1, 1, 1) / 20  # σ/√n
    assert 0.8 < (off / scale).std() < 1.2
    torch.testing.assert_close(off[0] / scale[0], off[1] / scale[1], atol=1e-2, rtol=1e-3)  # the same draws for all


def test_the_same_for_the_same_seed_alone() -> None:
    first = SmoothGrad(net(), n_samples=4).attribute(images(), TARGETS)
    torch.rand(7)
    assert torch.equal(SmoothGrad(net(), n_samples=4).attribute(images(), TARGETS), first)
    assert not torch.allclose(SmoothGrad(net(), n_samples=4, seed=1).attribute(images(), TARGETS), first)


def test_a_target_given_twice_has_the_same_map_twice() -> None:
    actual = SmoothGrad(net(), n_samples=4).attribute(images(), TARGETS)
    assert torch.equal(actual[1, 0], actual[1, 1])


def test_several_targets_cost_one_forward_pass_of_each_sample() -> None:
    model, calls = net(), []
    mixes_batch(model, images(2))  # found once for each model, by passes of its own
    model.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    SmoothGrad(model, n_samples=7, internal_batch_size=3).attribute(images(1), TARGETS[:1])
    assert calls == [3, 3, 1]


def test_absolute_is_of_the_mean() -> None:
    signed = SmoothGrad(net(), n_samples=6, noise=1, absolute=False).attribute(images(), 0)
    assert signed.min() < 0
    assert torch.equal(SmoothGrad(net(), n_samples=6, noise=1).attribute(images(), 0), signed.abs())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_samples": 0}, "n_samples is 0"),
        ({"noise": -0.1}, "noise is -0.1"),
        ({"noise": float("nan")}, "noise is nan"),
        ({"noise": float("inf")}, "noise is inf"),
        ({"samples": 5}, "'samples'.*'n_samples'"),
    ],
)
def test_wrong_options(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SmoothGrad(net(), **options)  # type: ignore[arg-type]
