import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger, WandbLogger

from callbacks import heatmaps
from callbacks.heatmaps import HeatmapPanel, interleaved
from lightning_modules import AttributionModule
from tests.helpers import explaining_fakes as fakes
from tests.lightning_modules.test_attribution import FLOWER_NET, QUIET, flowers
from vitrine.backbones.guard import eval_guard
from vitrine.core.explanation import Explanation
from vitrine.explainers.attribution import AttributionOptions
from vitrine.visualization.panel import panel


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("panels/*"))


def test_files_each_epoch(tmp_path: Path) -> None:
    fakes.trainer(tmp_path, HeatmapPanel(num_images=2)).fit(fakes.module(), datamodule=fakes.FakeData())
    assert names(tmp_path) == ["epoch-0000-step-000005.png", "epoch-0001-step-000010.png"]


def test_files_every_second_epoch(tmp_path: Path) -> None:
    callback = HeatmapPanel(num_images=2, every_n_epochs=2)
    fakes.trainer(tmp_path, callback, max_epochs=5).fit(fakes.module(), datamodule=fakes.FakeData())
    assert names(tmp_path) == ["epoch-0001-step-000010.png", "epoch-0003-step-000020.png"]


def test_steps_take_the_place_of_epochs(tmp_path: Path) -> None:
    callback = HeatmapPanel(num_images=2, every_n_steps=3)
    fakes.trainer(tmp_path, callback).fit(fakes.module(), datamodule=fakes.FakeData())
    assert names(tmp_path) == [f"epoch-000{int(step > 5)}-step-{step:06d}.png" for step in (3, 6, 9)]


def test_a_step_of_several_batches_is_drawn_once(tmp_path: Path) -> None:
    model = fakes.module()
    run = fakes.trainer(tmp_path, HeatmapPanel(num_images=2, every_n_steps=1), max_epochs=1, accumulate_grad_batches=5)
    run.fit(model, datamodule=fakes.FakeData())
    assert names(tmp_path) == ["epoch-0000-step-000001.png"]
    assert model.explainer.seen == [2]


@pytest.mark.parametrize("option", ["num_images", "every_n_epochs", "every_n_steps", "num_heatmaps"])
def test_numbers_below_one(option: str) -> None:
    options: dict[str, Any] = {option: 0}
    with pytest.raises(ValueError, match=f"^{option} is 0; give "):
        HeatmapPanel(**options)


def test_needs_a_datamodule(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="HeatmapPanel needs a datamodule"):
        fakes.trainer(tmp_path, HeatmapPanel()).fit(fakes.module(), fakes.FakeData().loader())


def test_shows_the_module_in_evaluation_mode_on_plain_images(tmp_path: Path) -> None:
    model, data = fakes.module(lr=0.0), fakes.FakeData()
    fakes.trainer(tmp_path, HeatmapPanel(num_images=3, num_heatmaps=2), max_epochs=1).fit(model, datamodule=data)
    batch = data.panel(3)
    explanation = model.eval().explainer.explain(batch["image"])
    expected = panel(
        data.preprocessing.denormalize(batch["image"]), explanation, fakes.CLASSES, heatmaps=2, by_score=True
    )
    with Image.open(tmp_path / "panels" / "epoch-0000-step-000005.png") as drawn:
        assert np.array_equal(np.asarray(drawn), np.asarray(expected))


@pytest.mark.parametrize("explain", ["predicted", "label", "both", "top_k", "every_class"])
def test_a_test_draws_the_classes_that_it_explains(
    explain: Any, flower_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Explanation] = []

    def recorded(_: Any, explanation: Explanation, *__: Any, **___: Any) -> Image.Image:
        drawn.append(explanation)
        return Image.new("L", (1, 1))

    monkeypatch.setattr(heatmaps, "panel", recorded)
    untrained = replace(FLOWER_NET, weights=None)  # one that is trained is right, so that nothing would be told apart
    module = AttributionModule(untrained, AttributionOptions("Saliency"), explain=explain, top_k=2)
    data = flowers(flower_shards)
    trainer = pl.Trainer(default_root_dir=tmp_path, callbacks=[HeatmapPanel(num_images=5)], **QUIET)
    trainer.test(module, datamodule=data, verbose=False)
    batch = data.panel(5)
    prediction = module.explainer.backbone(batch["image"]).logits.argmax(dim=1)
    assert (prediction != batch["label"]).any()
    expected = batch["label"] if explain in {"label", "every_class"} else prediction
    (explanation,) = drawn
    assert explanation.target.tolist() == expected.tolist()
    torch.testing.assert_close(explanation.heatmaps, module.explainer.explain(batch["image"], expected).heatmaps)


def test_a_test_draws_once(tmp_path: Path) -> None:
    model, data = fakes.module(), fakes.FakeData()
    fakes.trainer(tmp_path, HeatmapPanel(num_images=2)).test(model, datamodule=data, verbose=False)
    assert names(tmp_path) == ["test.png"]
    batch = data.panel(2)
    images = data.preprocessing.denormalize(batch["image"])
    expected = panel(images, model.eval().explainer.explain(batch["image"]), fakes.CLASSES)
    with Image.open(tmp_path / "panels" / "test.png") as drawn:
        assert np.array_equal(np.asarray(drawn), np.asarray(expected))


@pytest.mark.parametrize("every_n_steps", [None, 1])
def test_training_is_bit_equal_with_and_without(tmp_path: Path, every_n_steps: int | None) -> None:
    def trained(*callbacks: pl.Callback) -> tuple[dict[str, torch.Tensor], torch.Tensor, float, float]:
        model = fakes.module()
        run = fakes.trainer(tmp_path, *callbacks)
        run.fit(model, datamodule=fakes.FakeData())
        return model.state_dict(), torch.rand(4), float(np.random.rand()), random.random()  # noqa: NPY002, S311

    with_panel, without = trained(HeatmapPanel(num_images=3, every_n_steps=every_n_steps)), trained()
    assert names(tmp_path)
    assert all(torch.equal(with_panel[0][name], value) for name, value in without[0].items())
    assert torch.equal(with_panel[1], without[1])
    assert with_panel[2:] == without[2:]


def test_the_guard_restores_modes_gradients_and_generators() -> None:
    model = fakes.module().train()
    model.explainer.dropout.eval()  # a part that is frozen in evaluation mode stays so
    kept = torch.ones_like(model.explainer.head.weight)
    model.explainer.head.weight.grad = kept
    state = torch.get_rng_state()
    inside = []

    def fail() -> None:
        inside.append(model.explainer.training)
        model.explainer.explain(torch.ones(1, 3, 4, 4))
        raise RuntimeError

    with pytest.raises(RuntimeError), eval_guard(model, freeze=False, every_generator=True):
        fail()
    assert inside == [False]
    assert model.training
    assert not model.explainer.dropout.training
    assert model.explainer.head.weight.grad is kept
    assert torch.equal(kept, torch.ones_like(kept))
    assert model.explainer.head.bias.grad is None
    assert torch.equal(torch.get_rng_state(), state)


def test_csv_logger_gets_files(tmp_path: Path) -> None:
    run = fakes.trainer(tmp_path, HeatmapPanel(num_images=2), logger=CSVLogger(tmp_path), max_epochs=1)
    run.fit(fakes.module(), datamodule=fakes.FakeData())
    assert names(tmp_path) == ["epoch-0000-step-000005.png"]


@pytest.mark.parametrize("files", [False, True])
def test_tensorboard_gets_the_image(tmp_path: Path, *, files: bool) -> None:
    from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
        EventAccumulator,
    )

    logger = TensorBoardLogger(tmp_path)
    run = fakes.trainer(tmp_path, HeatmapPanel(num_images=2, files=files), logger=logger, max_epochs=1)
    run.fit(fakes.module(), datamodule=fakes.FakeData())
    events = EventAccumulator(logger.log_dir).Reload()
    assert [(image.step, image.width) for image in events.Images("heatmaps")] == [(5, 4 * 170 + 10)]
    assert len(names(tmp_path)) == int(files)


def test_wandb_gets_the_image_at_its_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = WandbLogger(save_dir=tmp_path, offline=True)
    sent: list[dict[str, Any]] = []
    log = logger.experiment.log

    def recorded(data: dict[str, Any], *args: Any, **options: Any) -> None:
        sent.append(dict(data))
        log(data, *args, **options)

    monkeypatch.setattr(logger.experiment, "log", recorded)
    run = fakes.trainer(tmp_path, HeatmapPanel(num_images=2), logger=logger)
    run.fit(fakes.module(), datamodule=fakes.FakeData())
    logger.experiment.finish()
    shown = [data for data in sent if "heatmaps" in data]
    assert [data["trainer/global_step"] for data in shown] == [5, 10]
    assert len(list(tmp_path.glob("wandb/offline-run-*/files/media/images/heatmaps*.png"))) == 2
    assert not names(tmp_path)


def test_wandb_is_not_imported_without_its_logger() -> None:
    import os
    import subprocess

    code = "import sys, callbacks.heatmaps; sys.exit('wandb' in sys.modules)"
    paths = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    assert (
        subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": paths}, check=False).returncode
        == 0
    )


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_interleaved_restores_the_order(world: int) -> None:
    explainer = fakes.module().explainer.eval()
    images = fakes.FakeData().panel(5)["image"]
    shares = [images[rank::world] for rank in range(world)]
    restored = interleaved([explainer.explain(share) if len(share) else None for share in shares])
    assert restored is not None
    assert torch.allclose(restored.heatmaps, explainer.explain(images).heatmaps)
    assert interleaved([None]) is None


def test_two_processes_draw_the_panel_of_one(two_runs: tuple[Path, Path]) -> None:
    one, two = (folder / "panels" for folder in two_runs)
    drawn = [sorted(folder.iterdir()) for folder in (one, two)]
    assert [path.name for path in drawn[1]] == ["epoch-0000-step-000003.png", "test.png"]  # five batches over two ranks
    with Image.open(drawn[0][0]) as first, Image.open(drawn[1][0]) as second:
        assert np.array_equal(np.asarray(first), np.asarray(second))


def test_two_processes_share_the_images_out(two_runs: tuple[Path, Path]) -> None:
    assert (two_runs[0] / "seen-0").read_text() == "[5]"
    assert [(two_runs[1] / f"seen-{rank}").read_text() for rank in (0, 1)] == ["[3]", "[2]"]
