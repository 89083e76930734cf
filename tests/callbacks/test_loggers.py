"""The logger adapter: W&B and TensorBoard get pictures at the trainer's step, W&B tables and artifacts, others nothing."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger, WandbLogger

from callbacks.loggers import STEP, Table, log_artifact, log_image, log_tables

PICTURE = Image.new("RGB", (4, 3), "#ff0000")


class FakeExperiment:
    """Keeps what it is sent."""

    id = "abc"

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def log(self, values: dict[str, Any]) -> None:
        self.sent.append(values)

    def add_image(self, name: str, pixels: Any, step: int, dataformats: str) -> None:
        self.sent.append((name, pixels, step, dataformats))

    def log_artifact(self, artifact: Any, aliases: list[str]) -> None:
        self.sent.append((artifact, aliases))


class FakeWandb(WandbLogger):
    def __init__(self) -> None:
        self.fake = FakeExperiment()

    @property
    def experiment(self) -> Any:
        return self.fake


class FakeTensorBoard(TensorBoardLogger):
    def __init__(self) -> None:
        self.fake = FakeExperiment()

    @property
    def experiment(self) -> Any:
        return self.fake


@pytest.fixture
def loggers(tmp_path: Path) -> list[Any]:
    return [CSVLogger(tmp_path), FakeWandb(), FakeTensorBoard()]


def trainer_of(loggers: list[Any]) -> Any:
    return SimpleNamespace(loggers=loggers, global_step=7)


def test_pictures_go_to_wandb_and_tensorboard_at_the_trainers_step(loggers: list[Any]) -> None:
    assert log_image(trainer_of(loggers), "panel", PICTURE)
    _, wandb, board = loggers
    ((values,), ((name, pixels, step, formats),)) = wandb.fake.sent, board.fake.sent
    assert values[STEP] == 7
    assert values["panel"].image.size == (4, 3)
    assert (name, step, formats) == ("panel", 7, "HWC")
    assert np.array_equal(pixels, np.asarray(PICTURE))


def test_without_such_a_logger_nothing_is_sent(loggers: list[Any]) -> None:
    assert not log_image(trainer_of(loggers[:1]), "panel", PICTURE)
    assert not log_image(trainer_of([]), "panel", PICTURE)


def test_tables_go_to_wandb_alone(loggers: list[Any]) -> None:
    log_tables(trainer_of(loggers), {"filters": Table(["layer", "weight"], [("a", 1.0), ("b", 2.0)])})
    _, wandb, board = loggers
    (values,) = wandb.fake.sent
    assert values[STEP] == 7
    assert values["filters"].columns == ["layer", "weight"]
    assert values["filters"].data == [["a", 1.0], ["b", 2.0]]
    assert not board.fake.sent


def test_files_and_folders_are_artifacts_with_versions(loggers: list[Any], tmp_path: Path) -> None:
    for name in ("explainer", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(name)
    file = tmp_path / "classifier.safetensors"
    file.write_text("b")
    trainer = trainer_of(loggers)
    log_artifact(trainer, [tmp_path / "explainer"], "srae-a-b", "explainer", ["best"], {"val/f_reg": 0.5})
    log_artifact(trainer, [file, tmp_path / "other"], "pages", "report")
    (folder, aliases), (both, latest) = loggers[1].fake.sent
    assert (folder.name, folder.type, folder.metadata) == ("srae-a-b", "explainer", {"val/f_reg": 0.5})
    assert aliases == ["latest", "best"]
    assert list(folder.manifest.entries) == ["a.txt"]
    assert (both.name, both.type, latest) == ("pages", "report", ["latest"])
    assert sorted(both.manifest.entries) == ["classifier.safetensors", "other/a.txt"]
    assert not loggers[2].fake.sent
