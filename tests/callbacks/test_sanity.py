"""The sanity check of a run's explanations: its figures, its file, its warning, over any number of ranks."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

import train
from callbacks import SanityCheck
from callbacks.run_folder import MetricsFile
from callbacks.sanity import joined, on_backbone
from tests.helpers import explaining_fakes as fakes
from tests.helpers.ranks import RankPool
from tests.helpers.scripts import train_on_rank
from vitrine.attribution import ExcitationBackprop
from vitrine.attribution.sanity import SanityReport, sanity_check
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.batch import Batch
from vitrine.explainers import SRAEExplainer
from vitrine.explainers.attribution.explainer import AttributionExplainer, AttributionOptions
from vitrine.explainers.srae.explainer import SRAEOptions

ROOT = Path(__file__).parents[2]


class ThreeClasses(nn.Module):
    """Logits of 12 × 12 images."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU())
        self.classifier = nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(images).mean(dim=(2, 3)))
        return logits


class Module(pl.LightningModule):
    """Tests nothing; its explainer is what is checked."""

    def __init__(self) -> None:
        super().__init__()
        self.explainer = SRAEExplainer(
            FrozenBackbone(ThreeClasses()),
            SRAEOptions("features", explained_classes=[0, 2], num_features=2, hidden=(5,), image_size=12),
        )

    def test_step(self, batch: Batch) -> None:
        self.log("test/random", torch.rand(()), batch_size=len(batch["image"]))


@pytest.fixture
def module() -> Module:
    torch.manual_seed(0)
    return Module()


def written(folder: Path, method: str = "ExcitationBackprop") -> dict[str, Any]:
    entries: dict[str, dict[str, Any]] = json.loads((folder / "sanity.json").read_text())
    return entries[method]


def checked(folder: Path, module: Module, *callbacks: pl.Callback, **options: Any) -> dict[str, float]:
    trainer = fakes.trainer(folder, *callbacks, **options)
    torch.manual_seed(1)
    trainer.test(module, datamodule=fakes.FakeData(), verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def test_the_figures_are_those_of_the_plain_check(module: Module, tmp_path: Path) -> None:
    check = SanityCheck(num_images=4, stages=2, seed=3, threshold=1.1, options={"negative_activations": "zplus"})
    found = checked(tmp_path, module, check, MetricsFile())
    batch = fakes.FakeData().panel(4)

    def make_method(model: nn.Module) -> ExcitationBackprop:
        return ExcitationBackprop(model, negative_activations="zplus")

    report = sanity_check(make_method, module.explainer.backbone.model, batch["image"], stages=2, seed=3)
    prefix = "test/sanity/ExcitationBackprop"
    assert found[f"{prefix}/absolute_correlation"] == pytest.approx(float(report.absolute_correlation[-1]))
    assert found[f"{prefix}/correlation"] == pytest.approx(float(report.correlation[-1]))
    assert found[f"{prefix}/similarity"] == pytest.approx(report.similarity)
    assert (found[f"{prefix}/similarity_low"], found[f"{prefix}/similarity_high"]) == pytest.approx(report.interval())
    assert found[f"{prefix}/degenerate"] == int(report.degenerate[-1])
    assert written(tmp_path) == {
        "options": {"negative_activations": "zplus"},
        "seed": 3,
        "images": batch["key"],
        **report.to_dict(1.1),
    }
    assert json.loads((tmp_path / "metrics.json").read_text())[f"{prefix}/degenerate"] == 0


def test_a_method_that_fails_is_warned_of_in_one_sentence(module: Module, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"^ExcitationBackprop fails the sanity check.* \(threshold -1.5\)\.$"):
        checked(tmp_path, module, SanityCheck(num_images=2, stages=2, threshold=-1.5))
    assert not written(tmp_path)["passes"]


@pytest.mark.filterwarnings("error:.*sanity check")
def test_a_method_that_passes_is_not_warned_of(module: Module, tmp_path: Path) -> None:
    checked(tmp_path, module, SanityCheck(num_images=2, stages=2, threshold=1.5))
    assert written(tmp_path)["passes"]


@pytest.mark.parametrize("inference_mode", [False, True])
def test_the_modules_own_explainer(inference_mode: bool, module: Module, tmp_path: Path) -> None:
    check = SanityCheck(method=None, num_images=3, stages=3, threshold=1.5)
    found = checked(tmp_path, module, check, inference_mode=inference_mode)
    assert "test/sanity/SRAEExplainer/absolute_correlation" in found
    stages = written(tmp_path, "SRAEExplainer")["stages"]
    assert [stage["layer"] for stage in stages] == ["classifier", "features.2", "features.0"]
    # The heads read the features alone, and targets stay: the re-drawn classifier above them changes nothing.
    assert stages[0]["correlation"] == pytest.approx(1)
    assert stages[2]["correlation"] < 0.99


def test_an_explainer_on_another_backbone(module: Module) -> None:
    own, other = module.explainer, ThreeClasses()
    before = own.backbone.model
    images = torch.rand(2, 3, 12, 12)
    expected = own.explain(images)
    twin = on_backbone(own, other)
    assert twin.backbone.model is twin.features.backbone.model is other
    torch.testing.assert_close(twin.explain(images).logits, other(images))
    assert own.backbone.model is before
    torch.testing.assert_close(own.explain(images).heatmaps, expected.heatmaps)
    for mine, theirs in zip(own.heads.parameters(), twin.heads.parameters(), strict=True):
        assert torch.equal(mine, theirs)
        assert mine is not theirs


@pytest.mark.parametrize(
    ("method", "arguments"), [("GradCAM", {"layer": "features.2"}), ("LRP", {}), ("IntegratedGradients", {"steps": 4})]
)
def test_an_attribution_method_is_put_on_another_network(method: str, arguments: dict[str, Any]) -> None:
    torch.manual_seed(0)
    first, second, images = ThreeClasses(), ThreeClasses(), torch.rand(2, 3, 12, 12)
    own, new = (
        AttributionExplainer(FrozenBackbone(network), AttributionOptions(method, arguments, image_size=12))
        for network in (first, second)
    )
    twin = on_backbone(own, new.backbone.model)
    torch.testing.assert_close(twin.attribute(images, 1), new.attribute(images, 1))
    assert not torch.allclose(twin.attribute(images, 1), own.attribute(images, 1))


def test_the_module_and_the_random_state_stay_as_they_were(module: Module, tmp_path: Path) -> None:
    state = {name: value.clone() for name, value in module.explainer.backbone.model.state_dict().items()}
    without = checked(tmp_path, module)
    found = checked(tmp_path, module, SanityCheck(num_images=2, stages=2), SanityCheck(None, num_images=2, stages=2))
    assert found["test/random"] == without["test/random"]
    assert all(torch.equal(value, state[name]) for name, value in module.explainer.backbone.model.state_dict().items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_images": 0}, "^num_images is 0; give "),
        ({"stages": 0}, "^stages is 0; give "),
        ({"method": "Guesing"}, "no attribution method named 'Guesing'"),
        ({"method": None, "options": {"layer": "features"}}, r"^options is .*features.*; give none without a method"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SanityCheck(**options)


def test_needs_an_explainer_on_a_backbone(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs a module with an explainer on a frozen backbone, got FakeModule"):
        fakes.trainer(tmp_path, SanityCheck()).test(fakes.module(), datamodule=fakes.FakeData(), verbose=False)


def test_needs_a_datamodule(module: Module, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="SanityCheck needs a datamodule"):
        fakes.trainer(tmp_path, SanityCheck()).test(module, fakes.FakeData().loader(), verbose=False)


@pytest.mark.parametrize(("images", "world"), [(7, 3), (2, 3), (4, 2), (1, 1)])
def test_shares_of_ranks_are_put_back_in_order(images: int, world: int) -> None:
    whole = SanityReport(("top", "bottom"), torch.rand(2, images), torch.rand(2, images))
    shares = [whole[rank::world] if rank < images else None for rank in range(world)]
    again = joined(shares)
    assert torch.equal(again.image_correlation, whole.image_correlation)
    assert torch.equal(again.image_absolute_correlation, whole.image_absolute_correlation)


def test_several_methods_share_a_file(module: Module, tmp_path: Path) -> None:
    checked(tmp_path, module, SanityCheck(num_images=2, stages=2), SanityCheck(None, num_images=3, stages=2))
    assert len(written(tmp_path)["images"]) == 2
    assert len(written(tmp_path, "SRAEExplainer")["images"]) == 3


def test_two_processes_leave_what_one_leaves(
    workplace: Path, small_run: list[str], ranks: RankPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITRINE_TRACEBACK", "1")
    train.main(["fit", *small_run, "--trainer.default_root_dir=fitted"])
    checks = (
        "{method: null, num_images: 3, stages: 2}",
        "{num_images: 1, stages: 2}",
    )  # an image is none for the second rank
    entries = ", ".join(f"{{class_path: SanityCheck, init_args: {options}}}" for options in checks)
    (workplace / "check.yaml").write_text(f"trainer:\n  callbacks: [{entries}]\n")
    command = ["test", *small_run, "-c", "check.yaml", "--ckpt_path=fitted/checkpoints/last.ckpt"]
    train.main([*command, "--trainer.default_root_dir=one"])
    ddp = ["-c", "configs/trainer/ddp.yaml", "--trainer.accelerator=cpu", "--trainer.devices=2"]
    errors = "".join(ranks.run(train_on_rank, [*command, *ddp, "--trainer.default_root_dir=two"], folder=workplace))
    one, two = (json.loads((workplace / name / "metrics.json").read_text()) for name in ("one", "two"))
    assert {name for name in one if name.startswith("test/sanity/")} == {
        f"test/sanity/{name}/{figure}"
        for name in ("SRAEExplainer", "ExcitationBackprop")
        for figure in (
            "correlation",
            "absolute_correlation",
            "similarity",
            "similarity_low",
            "similarity_high",
            "degenerate",
        )
    }
    assert plain(two) == pytest.approx(plain(one), rel=1e-3, abs=1e-4, nan_ok=True)
    for method, count in (("SRAEExplainer", 3), ("ExcitationBackprop", 1)):
        first, second = (written(workplace / name, method) for name in ("one", "two"))
        assert second["images"] == first["images"]
        assert len(first["images"]) == count
        # Only rank zero warns.
        assert errors.count(f"{method} fails") + errors.count(f"{method} cannot be") == (not first["passes"])


def plain(metrics: dict[str, float | None]) -> dict[str, float]:
    """NaN in place of JSON's null."""
    return {name: math.nan if value is None else value for name, value in metrics.items()}
