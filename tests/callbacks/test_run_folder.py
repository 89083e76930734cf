"""What the callbacks of every run leave in its folder, and that nothing half-written takes a whole file's place."""

import json
import math
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import train
import vitrine
from callbacks.health import RestartDeadHeads
from callbacks.run_folder import MetricsFile, RunCheckpoint, last_checkpoint
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.weight_files import recorded_num_classes


class Line(pl.LightningModule):
    """Fits y = wx, and logs what cannot be written as a JSON number."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch: Tensor) -> Tensor:
        loss: Tensor = self.layer(batch).square().mean()
        return loss

    def test_step(self, batch: Tensor) -> None:
        self.log_dict({"test/b": math.nan, "test/a": 1.5, "test/c": math.inf}, batch_size=len(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(folder: Path, *callbacks: pl.Callback, epochs: int = 3) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu", max_epochs=epochs, logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=any(isinstance(callback, RunCheckpoint) for callback in callbacks),
        default_root_dir=folder, callbacks=list(callbacks),
    )  # fmt: skip


def numbers() -> DataLoader[Tensor]:
    return DataLoader(torch.ones(4, 1), batch_size=2)  # type: ignore[arg-type]


def test_metrics_are_one_flat_sorted_object_with_null_for_what_is_not_finite(tmp_path: Path) -> None:
    trainer(tmp_path / "new", MetricsFile()).test(Line(), numbers(), verbose=False)
    text = (tmp_path / "new" / "metrics.json").read_text()
    assert json.loads(text) == {"test/a": 1.5, "test/b": None, "test/c": None}
    assert text.index("test/a") < text.index("test/b")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["metrics.json"]


@pytest.mark.parametrize(("every", "steps", "expected"), [(2, None, [4, 6]), (10, None, [6]), (10, 3, [3, 6, 6])])
def test_a_checkpoint_comes_every_so_often_and_at_the_end(
    every: int, steps: int | None, expected: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = []
    original = pl.Trainer.save_checkpoint

    def save(self: pl.Trainer, path: Path, *args: object, **kwargs: object) -> None:
        saved.append(self.global_step)
        original(self, path, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(pl.Trainer, "save_checkpoint", save)
    trainer(tmp_path, RunCheckpoint(every, steps)).fit(Line(), numbers())
    assert saved == expected
    assert torch.load(last_checkpoint(tmp_path))["global_step"] == 6
    assert [path.name for path in last_checkpoint(tmp_path).parent.iterdir()] == ["last.ckpt"]


def test_the_earlier_checkpoint_stands_while_the_next_one_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer(tmp_path, RunCheckpoint(), epochs=1).fit(Line(), numbers())
    before = last_checkpoint(tmp_path).read_bytes()

    def half(self: pl.Trainer, path: Path, *args: object, **kwargs: object) -> None:
        Path(path).write_bytes(before[:100])
        raise OSError("No space left on device")

    monkeypatch.setattr(pl.Trainer, "save_checkpoint", half)
    with pytest.raises(OSError, match="No space"):
        trainer(tmp_path, RunCheckpoint(1)).fit(Line(), numbers())
    assert last_checkpoint(tmp_path).read_bytes() == before


def test_restarts_are_counted_on_after_a_checkpoint(tmp_path: Path) -> None:
    health = RestartDeadHeads()
    health.restarts = {3: 2}
    trainer(tmp_path, health, RunCheckpoint(), epochs=1).fit(Line(), numbers())
    resumed = RestartDeadHeads()
    trainer(tmp_path, resumed, RunCheckpoint(), epochs=2).fit(Line(), numbers(), ckpt_path=last_checkpoint(tmp_path))
    assert resumed.restarts == {3: 2}


def test_an_interrupted_export_leaves_the_earlier_explainer(
    workplace: Path, small_run: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    train.main(["fit", *small_run])
    folder = workplace / "runs" / "quickstart"
    before = {path.name: path.read_bytes() for path in (folder / "explainer").iterdir()}

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("vitrine.explainers.base.save_file", fail)
    with pytest.raises(OSError, match="No space"):
        train.main(["fit", *small_run, "--model.init_args.training.beta", "0.5"])
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
