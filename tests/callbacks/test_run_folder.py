"""What every run leaves in its folder, and that nothing half-written or of a part takes a whole file's place."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import train
import vitrine
from callbacks.run_folder import Export, MetricsFile
from tests.helpers.commands import refusal
from tests.helpers.line_fit import Line, numbers, trainer
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.weight_files import recorded_num_classes


def test_metrics_are_one_flat_sorted_object_with_null_for_what_is_not_finite(tmp_path: Path) -> None:
    trainer(tmp_path / "new", MetricsFile()).test(Line(), numbers(), verbose=False)
    text = (tmp_path / "new" / "metrics.json").read_text()
    assert json.loads(text) == {"test/a": 1.5, "test/b": None, "test/c": None}
    assert text.index("test/a") < text.index("test/b")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["metrics.json"]


def test_a_part_of_a_test_does_not_replace_the_metrics(tmp_path: Path) -> None:
    trainer(tmp_path, MetricsFile()).test(Line(), numbers(), verbose=False)
    whole = (tmp_path / "metrics.json").read_bytes()
    trainer(tmp_path, MetricsFile(), fast_dev_run=True).test(Line(), numbers(), verbose=False)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]
    trainer(tmp_path, MetricsFile(), limit_test_batches=1).test(Line(), numbers(), verbose=False)
    assert (tmp_path / "metrics.json").read_bytes() == whole
    assert json.loads((tmp_path / "metrics-limited.json").read_text())["test/a"] == 1.5


def test_an_interrupted_export_leaves_the_earlier_explainer(
    workplace: Path, small_run: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train.main(["fit", *small_run])
    folder = workplace / "runs" / "quickstart"
    before = {path.name: path.read_bytes() for path in (folder / "explainer").iterdir()}

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("vitrine.explainers.saving.save_file", fail)
    told = refusal(capsys, "fit", *small_run, "--model.init_args.training.beta", "0.5", "--overwrite", "true")
    assert "No space left on device" in told
    assert {path.name: path.read_bytes() for path in (folder / "explainer").iterdir()} == before
    assert not [path for path in folder.iterdir() if "partial" in path.name]


def test_the_exported_explainer_says_what_it_was_trained_for(workplace: Path, small_run: list[str]) -> None:
    cli = train.main(["fit", *small_run])
    explainer = vitrine.load(workplace / "runs" / "quickstart" / "explainer")
    assert explainer.classes == cli.datamodule.classes
    assert explainer.preprocessing == cli.datamodule.preprocessing
    for own, loaded in zip(cli.model.explainer.parameters(), explainer.parameters(), strict=True):
        assert torch.equal(own, loaded)


def test_an_exported_classifier_is_a_backbones_weights(workplace: Path) -> None:
    """A torchvision network whose last layer was replaced for six classes."""
    options = [
        "fit", "-c", "configs/flower_classifier.yaml", "--trainer.max_epochs=1", "--data.init_args.loading.num_workers=0",
        "--data.init_args.loading.batch_size=4", "--model.init_args.backbone.name=squeezenet1_1",
    ]  # fmt: skip
    cli = train.main(options)
    path = workplace / "runs" / "flower_classifier" / "classifier.safetensors"
    assert recorded_num_classes(path) == 6
    backbone = FrozenBackbone("squeezenet1_1", weights=path)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    cli.model.eval()
    torch.testing.assert_close(backbone(images).logits, cli.model(images))
    assert not list(path.parent.glob(".*"))


def test_a_fit_without_a_step_exports_nothing_and_says_so(tmp_path: Path) -> None:
    options: dict[str, Any]
    for options in ({"epochs": 0}, {"max_steps": 0}, {"limit_train_batches": 0}):
        with pytest.warns(UserWarning, match="No batch was trained on, so that nothing is exported"):
            trainer(tmp_path, Export(), **options).fit(Line(), numbers())
    assert not list(tmp_path.iterdir())
