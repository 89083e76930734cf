"""The sanity check: rank correlation against SciPy, the cascade against what it says of itself, verdicts on known methods."""

import copy
import itertools
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from typing_extensions import override

from vitrine.attribution.base import Method
from vitrine.attribution.sanity import SanityReport, randomized, rank_correlation, sanity_check
from vitrine.attribution.sanity.__main__ import find_images, main
from vitrine.attribution.sanity.cascade import evenly_spaced, layers_from_top, reinitialise
from vitrine.attribution.targets import Target

WEIGHTS = Path(__file__).parents[4] / "vitrine" / "data" / "an8flower" / "flower_net.safetensors"


class Gradient(Method):
    """The gradient of the logit, (B, C, H, W)."""

    @override
    def maps(self, inputs: Tensor, target: Target) -> Tensor:
        with torch.enable_grad():
            pixels = inputs.requires_grad_()
            output = self.explained_output(pixels, target)
            (gradient,) = torch.autograd.grad(output.gather(1, target.resolve(output)).sum(), pixels)
        return gradient[:, None]


class EdgeDetector(Method):
    """Differences of neighbouring pixels, whatever the model is; scaled, as ranks do not depend on that."""

    @override
    def maps(self, inputs: Tensor, target: Target) -> Tensor:
        scale = sum(parameter.abs().sum() for parameter in self.model.parameters())
        return (inputs - inputs.roll(1, dims=3))[:, None] * scale


class Tangled(nn.Module):
    """Registered in no order; a layer used twice, one never, a functional weight, batch norms, and a table of constants."""

    table: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 4)
        self.auxiliary = nn.Linear(6, 2)
        self.norm = nn.BatchNorm2d(6, affine=False)
        self.shared = nn.Conv2d(6, 6, 3, padding=1)
        self.scale = nn.Parameter(torch.rand(6, 1, 1) + 0.5)
        self.functional = nn.ParameterDict({"weight": nn.Parameter(torch.randn(6, 6, 1, 1))})
        self.last_norm = nn.BatchNorm2d(6)
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.register_buffer("table", torch.ones(6, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images) * self.scale
        x = F.relu(self.norm(self.shared(x)), inplace=True)
        x = F.relu(F.conv2d(x, self.functional["weight"])) * self.table
        x = F.relu(self.last_norm(self.shared(x)))
        logits: Tensor = self.head(x.to(self.stem.weight.dtype).mean((2, 3)))
        return logits


FROM_TOP = ["head", "last_norm", "shared", "functional", "norm", "", "stem"]


@pytest.fixture
def network() -> nn.Module:
    """As if trained: statistics, biases and scales are no longer those of a new network."""
    torch.manual_seed(0)
    model = Tangled()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean, module.running_var = torch.randn(6) / 4, torch.rand(6) + 0.5
    nn.init.normal_(model.last_norm.weight, 1, 0.2)
    nn.init.normal_(model.last_norm.bias, 0, 0.2)
    return model.train()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(5, 3, 9, 9, generator=torch.Generator().manual_seed(1))


# Rank correlation


PAIRS = st.tuples(st.integers(1, 4), st.integers(2, 40)).flatmap(
    lambda shape: arrays.arrays(
        np.float64, (2, *shape), elements=st.integers(-3, 3).map(float) | st.floats(-1e6, 1e6, allow_subnormal=False)
    )
)


@settings(max_examples=150)
@given(PAIRS)
@pytest.mark.filterwarnings("ignore:An input array is constant")
def test_rank_correlation_is_scipys(pair: np.ndarray[Any, Any]) -> None:
    actual = rank_correlation(*torch.from_numpy(pair))
    expected = [spearmanr(first, second).statistic for first, second in zip(*pair, strict=True)]
    np.testing.assert_allclose(actual.numpy(), expected, atol=1e-12)


def test_rank_correlation_of_large_maps_of_mostly_zeros() -> None:
    """As ReLU leaves them: sums of tied ranks exceed 32 bits."""
    first, second = torch.randn(2, 3, 300 * 300, generator=torch.Generator().manual_seed(0)).sub(1).relu().unbind()
    second[1] += first[1]
    expected = [spearmanr(a, b).statistic for a, b in zip(first.numpy(), second.numpy(), strict=True)]
    np.testing.assert_allclose(rank_correlation(first, second).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("bad", [[2.0, 2.0, 2.0], [0.0, torch.nan, 1.0], [0.0, torch.inf, 1.0]])
def test_rank_correlation_of_degenerate_rows_is_nan(bad: list[float]) -> None:
    rows = torch.tensor([bad, [0.0, 1.0, 2.0]])
    good = torch.tensor([[0.0, 1.0, 2.0], [0.0, 10.0, 11.0]])
    for actual in (rank_correlation(rows, good), rank_correlation(good, rows)):
        assert actual.isnan().tolist() == [True, False]
        assert actual[1] == pytest.approx(1)


# The cascade


def test_layers_stand_in_the_reverse_order_of_their_use(network: nn.Module, images: Tensor) -> None:
    assert layers_from_top(network, images) == FROM_TOP
    assert [name for name, _ in randomized(network, images)] == [name or "Tangled" for name in FROM_TOP]


def test_the_order_is_that_of_hooks_where_modules_are_called_once(images: Tensor) -> None:
    """An attention block: its output projection is never called as a module, and yet used."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(49, 7, 12, batch_first=True)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(2), layer, nn.Flatten(), nn.Linear(8 * 49, 3)).eval()
    called: list[str] = []
    twin = copy.deepcopy(model)
    for name, module in twin.named_modules():
        if any(True for _ in module.parameters(recurse=False)):
            module.register_forward_hook(lambda *_, name=name: called.append(name))
    with torch.enable_grad():  # the layer would otherwise run as one fused operator
        twin(images)
    actual = layers_from_top(model, images)
    assert "2.self_attn.out_proj" not in called
    assert actual.index("2.self_attn.out_proj") == actual.index("2.self_attn") - 1
    assert [name for name in actual if name != "2.self_attn.out_proj"] == called[::-1]


def test_each_stage_re_draws_one_more_layer_and_nothing_else(network: nn.Module, images: Tensor) -> None:
    original = network.state_dict()
    stages = [stage.state_dict() for _, stage in randomized(network, images, seed=3)]
    for before, after, layer in zip([original, *stages], stages, FROM_TOP, strict=False):
        its_own = {name for name in original if name.rpartition(".")[0] == layer} - {"table"}
        changed = {name for name in original if not torch.equal(before[name], after[name])}
        assert changed
        assert changed == its_own - {"norm.num_batches_tracked", "last_norm.num_batches_tracked"}
    assert torch.equal(stages[-1]["auxiliary.weight"], original["auxiliary.weight"])


def test_re_drawn_layers_are_those_of_a_new_network(network: nn.Module, images: Tensor) -> None:
    *_, (_, last) = randomized(network, images)
    for norm in (last.get_submodule("norm"), last.get_submodule("last_norm")):
        torch.testing.assert_close(
            norm.eval()(images.repeat(1, 2, 1, 1)), images.repeat(1, 2, 1, 1), rtol=1e-4, atol=1e-4
        )
    assert float(last.get_parameter("stem.weight").detach().abs().max()) <= 27**-0.5  # PyTorch's own bound, 1 / √fan-in


def test_parameters_without_a_reset_keep_their_mean_and_spread() -> None:
    layer = nn.ParameterDict({"a": nn.Parameter(torch.randn(50_000) * 3 + 2), "b": nn.Parameter(torch.ones(7))})
    before = layer["a"].detach().clone()
    torch.manual_seed(0)
    reinitialise(layer)
    assert abs(float(torch.corrcoef(torch.stack([before, layer["a"].detach()]))[0, 1])) < 0.02
    assert float(layer["a"].detach().mean()) == pytest.approx(2, abs=0.05)
    assert float(layer["a"].detach().std()) == pytest.approx(3, abs=0.05)
    assert torch.equal(layer["b"], torch.ones(7))


def test_a_reparametrised_weight_is_re_drawn(images: Tensor) -> None:
    """Its ``reset_parameters`` would change a temporary tensor alone."""
    torch.manual_seed(0)
    layer: Any = parametrizations.weight_norm(nn.Linear(243, 3))
    *_, (_, last) = randomized(nn.Sequential(nn.Flatten(), layer), images)
    reinitialised: Any = last.get_submodule("1")
    weights = torch.stack([layer.weight.detach().flatten(), reinitialised.weight.detach().flatten()])
    assert abs(float(torch.corrcoef(weights)[0, 1])) < 0.15


def test_fewer_stages_are_a_choice_of_all_of_them(network: nn.Module, images: Tensor) -> None:
    every = list(randomized(network, images, seed=1))
    for stages, positions in ((1, [6]), (2, [0, 6]), (3, [0, 3, 6]), (99, list(range(7)))):
        actual = list(randomized(network, images, seed=1, stages=stages))
        assert [name for name, _ in actual] == [every[position][0] for position in positions]
        for (_, stage), position in zip(actual, positions, strict=True):
            assert_same(stage, every[position][1].state_dict())


@given(st.integers(1, 200), st.integers(2, 50))
def test_stages_are_spread_evenly_from_the_first_to_the_last(count: int, stages: int) -> None:
    positions = evenly_spaced(count, stages)
    assert (positions[0], positions[-1], len(positions)) == (0, count - 1, min(count, stages))
    steps = {later - earlier for earlier, later in itertools.pairwise(positions)}
    assert not steps or max(steps) - min(steps) <= 1


def test_a_seed_is_one_cascade_and_another_seed_another(network: nn.Module, images: Tensor) -> None:
    first, again, other = ([stage.state_dict() for _, stage in randomized(network, images, seed)] for seed in (0, 0, 1))
    assert all(torch.equal(a[name], b[name]) for a, b in zip(first, again, strict=True) for name in a)
    # Not shifted by a layer either, as seeds drawn one after another would be.
    for layer, later in (("head.weight", "head.weight"), ("shared.weight", "functional.weight")):
        assert not torch.equal(first[-1][layer].flatten()[:6], other[-1][later].flatten()[:6])


def test_the_model_and_the_random_state_stay_as_they_were(network: nn.Module, images: Tensor) -> None:
    state, random = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    network.get_parameter("head.weight").grad = gradient = torch.ones(4, 6)
    for _, stage in randomized(network, images):
        assert torch.equal(torch.get_rng_state(), random)  # also while the caller has a stage in hand
        assert [module.training for module in stage.modules()] == [module.training for module in network.modules()]
    sanity_check(Gradient, network, images)
    assert_same(network, state)
    assert all(module.training for module in network.modules())
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert network.get_parameter("head.weight").grad is gradient
    assert torch.equal(gradient, torch.ones(4, 6))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert torch.equal(torch.get_rng_state(), random)


def assert_same(model: nn.Module, state: dict[str, Tensor]) -> None:
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("model", "stages", "message"),
    [(nn.Flatten(), None, "Flatten uses no parameters"), (nn.Linear(9, 2), 0, "stages is 0; give 1 or more")],
)
def test_what_cannot_be_re_drawn_is_said(model: nn.Module, stages: int | None, message: str, images: Tensor) -> None:
    with pytest.raises(ValueError, match=message):
        list(randomized(model, images, stages=stages))


# The check


def test_a_method_that_ignores_the_model_fails(network: nn.Module, images: Tensor) -> None:
    report = sanity_check(EdgeDetector, network, images)
    for figures in (report.image_correlation, report.image_absolute_correlation):
        torch.testing.assert_close(figures, torch.ones(7, 5, dtype=torch.float64))
    assert not report.passes()
    assert report.passes(threshold=1.01)
    assert report.verdict("EdgeDetector").startswith("EdgeDetector fails the sanity check")


def test_the_gradient_of_a_trained_network_falls(images: Tensor) -> None:
    """Trained to tell the side on which a bright square lies."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(8, 2),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        label = torch.randint(2, (16,))
        scene = torch.randn(16, 3, 9, 9) / 4
        for row, side in enumerate(label.tolist()):
            scene[row, :, 3:6, 6 * side : 6 * side + 3] += 1
        optimizer.zero_grad()
        loss = F.cross_entropy(model(scene), label)
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.1
    report = sanity_check(Gradient, model, scene)
    assert report.layers == ("6", "3", "0")
    assert report.passes()
    assert abs(float(report.correlation[-1])) < 0.3
    assert "passes the sanity check" in report.verdict("Gradient")


def test_the_report_is_that_of_a_plain_loop(network: nn.Module, images: Tensor) -> None:
    network.eval()
    target = network(images).argmax(dim=1)
    report = sanity_check(Gradient, network, images, seed=5)
    before = Gradient(network).attribute(images, target).sum(1).flatten(1).numpy()
    for stage, (name, model) in enumerate(randomized(network, images, seed=5)):
        assert report.layers[stage] == name
        after = Gradient(model).attribute(images, target).sum(1).flatten(1).numpy()
        for image in range(5):
            signed = spearmanr(before[image], after[image]).statistic
            absolute = spearmanr(abs(before[image]), abs(after[image])).statistic
            assert float(report.image_correlation[stage, image]) == pytest.approx(signed, abs=1e-9)
            assert float(report.image_absolute_correlation[stage, image]) == pytest.approx(absolute, abs=1e-9)


def test_a_given_target_is_explained(network: nn.Module, images: Tensor) -> None:
    asked: list[Any] = []

    class Asked(Gradient):
        def attribute(self, inputs: Tensor, target: Any = None, channel: Any = None) -> Tensor:
            asked.append(target)
            return super().attribute(inputs, target, channel)

    sanity_check(Asked, network, images, 2, stages=2)
    assert asked == [2, 2, 2]


def test_one_image_does_not_depend_on_the_others(network: nn.Module, images: Tensor) -> None:
    whole = sanity_check(Gradient, network, images, seed=2)
    parts = SanityReport.cat([sanity_check(Gradient, network, images[row : row + 1], seed=2) for row in range(5)])
    assert parts.layers == whole.layers
    torch.testing.assert_close(parts.image_correlation, whole.image_correlation, rtol=0, atol=1e-3)
    torch.testing.assert_close(parts.image_absolute_correlation, whole.image_absolute_correlation, rtol=0, atol=1e-3)


@pytest.mark.parametrize("value", [0.0, torch.nan])
def test_degenerate_maps_are_counted_and_not_averaged(value: float, network: nn.Module, images: Tensor) -> None:
    class Broken(EdgeDetector):
        def maps(self, inputs: Tensor, target: Target) -> Tensor:
            maps = super().maps(inputs, target)
            untouched = self.model is network
            maps[0 if untouched else 1] = value
            return maps

    report = sanity_check(Broken, network, images, stages=2)
    assert report.degenerate.tolist() == [2, 2]
    torch.testing.assert_close(report.correlation, torch.ones(2, dtype=torch.float64))
    alone = report[:2]
    assert alone.absolute_correlation.isnan().all()
    assert not alone.passes(threshold=2)
    assert "cannot be judged" in alone.verdict("Broken")
    assert alone.rows()[0] == {"layer": "head", "correlation": None, "absolute_correlation": None, "degenerate": 2}
    json.dumps(alone.to_dict(), allow_nan=False)


NAN = torch.nan


@pytest.mark.parametrize(
    ("signed", "absolute", "similarity"),
    [
        ((0.0, 0.0, 0.0), (0.9, 0.8, 0.1), 0.6),
        ((0.9, 0.8, 0.1), (0.0, 0.0, 0.0), 0.6),
        ((0.0, 0.0, 0.0), (0.1, 0.2, 0.6), 0.6),
        ((0.1, 0.2, 0.6), (0.0, 0.3, 0.0), 0.6),
        ((NAN, 0.4, 0.2), (NAN, 0.4, NAN), 0.3),
    ],
)
def test_the_verdict_is_by_the_last_stage_and_by_all_of_them(
    signed: tuple[float, ...], absolute: tuple[float, ...], similarity: float
) -> None:
    values, magnitudes = (torch.tensor(row, dtype=torch.float64)[:, None] for row in (signed, absolute))
    report = SanityReport(("c", "b", "a"), values, magnitudes)
    assert report.similarity == pytest.approx(similarity)
    assert report.passes(similarity + 1e-6)
    assert not report.passes(similarity - 1e-6)


def test_under_inference_mode(network: nn.Module, images: Tensor) -> None:
    with torch.inference_mode():
        within = sanity_check(Gradient, network, images, stages=3)
    torch.testing.assert_close(
        within.image_correlation, sanity_check(Gradient, network, images, stages=3).image_correlation
    )


# The command


@pytest.fixture
def command(class_folder: Path) -> Callable[..., list[str]]:
    def arguments(**changed: object) -> list[str]:
        options = {
            "method": "ExcitationBackprop", "network": "vitrine.data.an8flower.network:FlowerNet", "weights": WEIGHTS,
            "num-classes": 6, "images": class_folder / "test", "size": 32, "count": 3, "stages": 2,
        }  # fmt: skip
        return [text for name, value in (options | changed).items() for text in (f"--{name}", str(value))]

    return arguments


@pytest.mark.parametrize(("threshold", "code", "verdict"), [(-1.1, 1, "fails"), (1.1, 0, "passes")])
def test_the_command(
    threshold: float, code: int, verdict: str, command: Callable[..., list[str]], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "new" / "sanity.json"
    assert main([*command(threshold=threshold), "--out", str(out)]) == code
    written, shown = json.loads(out.read_text()), capsys.readouterr().out
    assert [stage["layer"] for stage in written["stages"]] == ["classifier.3", "features.0"]
    assert written["passes"] == (code == 0)
    assert written["images"] == ["ant/ant_test_0.png", "ant/ant_test_1.png", "bee/bee_test_0.png"]
    assert written["options"]["method"] == "ExcitationBackprop"
    assert f"ExcitationBackprop {verdict} the sanity check" in shown
    assert all(f"{stage['absolute_correlation']:.3f}" in shown for stage in written["stages"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"method": "Guessing"}, "There is no attribution method named 'Guessing'"),
        ({"network": "resnet17"}, "torchvision has no classifier named 'resnet17'"),
        ({"weights": "nowhere.pth"}, "Weight file nowhere.pth does not exist"),
        ({"images": "nowhere"}, "nowhere holds no images"),
        ({"count": 0}, "--count is 0; give 1 or more"),
        ({"count": "many"}, "argument --count: invalid int value: 'many'"),
        ({"stages": 0}, "--stages is 0; give 1 or more"),
        ({"batch-size": 0}, "--batch-size is 0; give 1 or more"),
        ({"threshold": "nan"}, "--threshold is nan; give a number"),
        ({"layer": "featurs"}, "The model has no layer 'featurs'; near names: features"),
        ({"nothing": 1}, "unrecognized arguments: --nothing 1"),
    ],
)
def test_the_command_refuses_in_one_sentence(
    changed: dict[str, object], message: str, command: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(**changed)) == 2
    expected = capsys.readouterr()
    assert message in expected.err
    assert expected.err.count("\n") == 1
    assert expected.out == ""


def test_the_command_names_a_broken_image(
    command: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    assert main(command(images=tmp_path)) == 2
    assert "broken.jpg is no readable image" in capsys.readouterr().err


def test_the_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    assert "ExcitationBackprop" in capsys.readouterr().out


def test_images_are_spread_over_the_folder(class_folder: Path) -> None:
    names = partial(lambda count: [path.name for path in find_images(class_folder / "train", count)])
    assert names(4) == ["ant_train_0.png", "ant_train_3.png", "bee_train_0.png", "bee_train_3.png"]
    assert len(set(names(7))) == 7
    assert len(names(99)) == 12
