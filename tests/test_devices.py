"""What another device computes is what the CPU computes: attribution methods, loaded explainers, whole runs of train.py.

``pytest tests/test_devices.py --device cuda`` runs all of it on a GPU. Without the option the methods are compared with
themselves in float64, and the runs, which would be compared with themselves, are left out.
"""

import sys
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

import vitrine
from benchmarks.small_runs import MODULES, WITHOUT_FIT, exported_weights, small_set, write_config
from tests.vitrine.attribution.test_every_method import NAMES, explained, layer_for, make, model_for
from train import main
from vitrine.core.explanation import Explanation

UNSTABLE = {"ExtremalPerturbation"}
"""It ranks cells in each step, so that rounding changes which are shown."""
FITTED = [name for name in MODULES if name not in WITHOUT_FIT]


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> str:
    """The device that ``--device`` names."""
    name: str = request.config.getoption("--device")
    return name


@pytest.fixture(scope="session")
def other_device(device: str) -> str:
    """A device that is not the CPU."""
    if device == "cpu":
        pytest.skip("pytest has no --device cuda: these runs are compared with those on the CPU")
    return device


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rendered flowers."""
    return small_set(tmp_path_factory.mktemp("flowers"), views=5)


def assert_close_to_scale(found: Tensor, expected: Tensor, tolerance: float) -> None:
    """Differences are small beside the largest value, where both are finite."""
    expected = expected.double().cpu()
    scale = float(expected.abs().max())
    torch.testing.assert_close(found.double().cpu(), expected, rtol=0, atol=tolerance * max(scale, 1e-12))


@pytest.mark.parametrize("name", NAMES)
def test_a_method_gives_the_same_maps(name: str, device: str) -> None:
    model, images = model_for(name), torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    expected = make(name, model.double(), layer_for(name)).attribute(images.double(), **explained(name, [1, 2]))
    method = make(name, model.float().to(device), layer_for(name))
    found = method.attribute(images.to(device), **explained(name, [1, 2]))
    assert found.device.type == torch.device(device).type
    if name in UNSTABLE:
        apart = (found.double().cpu() - expected).abs().mean()
        assert float(apart) <= 0.1 * float(expected.abs().max())
    else:
        assert_close_to_scale(found, expected, 1e-4)


def fitted(module: str, shards: Path, folder: Path, device: str, *options: str) -> Path:
    """The folder of a small fit."""
    config = write_config(folder / "config.yaml", module, shards, folder / "features", epochs=2)
    text = yaml.safe_load(config.read_text(encoding="utf-8"))
    text["trainer"] |= {
        "accelerator": "gpu" if device.startswith("cuda") else device,
        "default_root_dir": str(folder / "run"),
    }
    config.write_text(yaml.safe_dump(text), encoding="utf-8")
    main(["fit", "-c", str(config), *options])
    return folder / "run"


@pytest.mark.parametrize("module", FITTED)
def test_a_fit_gives_the_weights_of_the_cpu(
    module: str, other_device: str, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py"])
    expected = exported_weights(fitted(module, shards, tmp_path / "cpu", "cpu"))
    found = exported_weights(fitted(module, shards, tmp_path / "other", other_device))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert_close_to_scale(found[name], value, 2e-2)  # TF32 convolutions, and Adam, which makes rounding larger


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_an_explainer_fitted_in_half_precision_explains_on_both(
    precision: str, other_device: str, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py"])
    run = fitted("srae", shards, tmp_path, other_device, f"--trainer.precision={precision}")
    images = torch.rand(2, 3, 64, 64)
    explanations: list[Explanation] = []
    for device in ("cpu", other_device):
        explainer = vitrine.load(run / "explainer", device=device)
        explanations.append(explainer.explain(images.to(device), torch.tensor([0, 1], device=device)))
    assert_close_to_scale(explanations[1].heatmaps, explanations[0].heatmaps, 1e-2)
