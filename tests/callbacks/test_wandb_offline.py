"""What a run leaves for Weights & Biases and for TensorBoard, read back from their files."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]
from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

import train

BLOCK, HEAD = 32768, 7
LAST_PART = {1, 4}


def records(path: Path) -> Iterator[Record]:
    """The records of an offline run: LevelDB's log format, each record one protobuf message."""
    content = path.read_bytes()
    assert content.startswith(b":W&B")
    place, message = HEAD, b""
    while place + HEAD <= len(content):
        left = BLOCK - place % BLOCK
        _, size, part = struct.unpack_from("<IHB", content, place) if left >= HEAD else (0, 0, 0)
        if part == 0:  # the rest of a block is padding
            place += left
            continue
        place += HEAD + size
        message += content[place - size : place]
        if part in LAST_PART:
            yield Record.FromString(message)
            message = b""


def values(items: Any) -> dict[str, Any]:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


@pytest.fixture
def panels(workplace: Path) -> str:
    """A file that draws the panel after each epoch."""
    panel = "{class_path: HeatmapPanel, init_args: {num_images: 2, every_n_epochs: 1}}"
    (workplace / "panels.yaml").write_text(f"trainer:\n  callbacks: [{{class_path: Export}}, {panel}]\n")
    return "panels.yaml"


def test_a_wandb_run_can_be_read_back(
    workplace: Path, small_run: list[str], panels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scalars, the panel, the resolved values and the explainer, from the offline run's file."""
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_SILENT", "true")
    folder = workplace / "run"  # absolute: W&B's own process keeps the working directory of the first test
    options = ["--model.init_args.training.beta=0.5", f"--trainer.default_root_dir={folder}"]
    train.main(["fit", *small_run, "-c", panels, "-c", "configs/trainer/wandb.yaml", *options])
    wandb.finish()
    wandb.teardown()  # waits for W&B's process, which may still be writing records to the file
    (path,) = (folder / "wandb").glob("offline-run-*/*.wandb")
    found = list(records(path))
    history = [values(record.history.item) for record in found if record.WhichOneof("record_type") == "history"]

    epochs = [row for row in history if "train/loss" in row]
    assert len(epochs) == 2
    assert all(row["train/loss"] > 0 and row["train/f_reg"] >= 0 and row["train/f_cls"] <= 1 for row in epochs)
    assert [row["trainer/global_step"] for row in epochs] == sorted(row["trainer/global_step"] for row in epochs)
    assert any("val/f_reg" in row for row in history)

    pictures = [_picture(row) for row in history if any(key.startswith("heatmaps") for key in row)]
    assert len(pictures) == 2
    assert all((path.parent / "files" / picture).stat().st_size > 1000 for picture in pictures)

    config: dict[str, Any] = {}
    for record in found:
        config |= values(record.run.config.update) | values(record.config.update)
    assert config["model"]["init_args"]["training"]["beta"] == 0.5
    assert config["data"]["init_args"]["loading"]["batch_size"] == 4
    assert config["model"]["class_path"].endswith("SRAEModule")
    (run,) = (record.run for record in found if record.WhichOneof("record_type") == "run")
    assert run.display_name == "srae-flowernet-flower"
    assert list(run.tags) == ["srae", "flowernet", "flower"]
    assert (folder / "logs" / "fit" / "metrics.csv").is_file()

    (artifact,) = (record.request.log_artifact.artifact if record.HasField("request") else record.artifact
                   for record in found if _is_artifact(record))  # fmt: skip
    assert (artifact.type, artifact.name) == ("explainer", "srae-flowernet-flower")
    assert {alias.alias if hasattr(alias, "alias") else alias for alias in artifact.aliases} == {"latest", "best"}
    assert json.loads(artifact.metadata)["val/f_reg"] > 0
    assert {entry.path for entry in artifact.manifest.contents} == {
        file.name for file in (folder / "explainer").iterdir()
    }


def test_a_test_goes_on_with_the_run_of_the_fit(
    workplace: Path, small_run: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one W&B run: figures at the checkpoint's step, a table of images, pages as an artifact; anew with --overwrite."""
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_SILENT", "true")
    folder = workplace / "tested"
    options = ["-c", "configs/trainer/wandb.yaml", f"--trainer.default_root_dir={folder}"]
    ids = []
    for command, more in (("fit", []), ("test", []), ("fit", ["--overwrite=true"])):
        train.main([command, *small_run, *options, *more])
        wandb.finish()
        ids.append(json.loads((folder / "wandb-run.json").read_text())["id"])
    wandb.teardown()
    assert ids[0] == ids[1] != ids[2]
    paths = sorted((folder / "wandb").glob(f"offline-run-*/run-{ids[0]}.wandb"))
    assert len(paths) == 2
    found = list(records(paths[-1]))
    history = [values(record.history.item) for record in found if record.WhichOneof("record_type") == "history"]
    (figures,) = [row for row in history if "test/f_reg" in row]
    assert figures["trainer/global_step"] == 12
    assert any(key.startswith("images") for row in history for key in row)
    assert any(key.startswith("report") for row in history for key in row)
    artifacts = [
        record.request.log_artifact.artifact if record.HasField("request") else record.artifact
        for record in found if _is_artifact(record)
    ]  # fmt: skip
    (pages,) = [one for one in artifacts if one.type == "report"]
    assert {entry.path.split("/")[0] for entry in pages.manifest.contents} >= {"report", "x_features"}


def _picture(row: dict[str, Any]) -> str:
    """The file of a row's picture, whose fields stand under one key or each under its own."""
    picture = row.get("heatmaps") or {key.removeprefix("heatmaps."): value for key, value in row.items()}
    assert picture["_type"] == "image-file"
    return str(picture["path"])


def _is_artifact(record: Record) -> bool:
    return record.WhichOneof("record_type") == "artifact" or record.request.HasField("log_artifact")


def test_wandb_gets_each_checkpoint(workplace: Path, small_run: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    folder = workplace / "checkpointed"
    options = [f"--trainer.default_root_dir={folder}", "--trainer.logger.init_args.log_model=all"]
    options += ["--checkpoint.monitor=val/f_reg", "--checkpoint.every_n_epochs=1"]
    train.main(["fit", *small_run, "-c", "configs/trainer/wandb.yaml", *options])
    wandb.finish()
    wandb.teardown()
    (path,) = (folder / "wandb").glob("offline-run-*/*.wandb")
    artifacts = [
        record.request.log_artifact.artifact if record.HasField("request") else record.artifact
        for record in records(path) if _is_artifact(record)
    ]  # fmt: skip
    models = [artifact for artifact in artifacts if artifact.type == "model"]
    assert len(models) >= 3
    assert "best" in {alias for artifact in models for alias in artifact.aliases}
    assert all(entry.path == "model.ckpt" for artifact in models for entry in artifact.manifest.contents)


def test_tensorboard_gets_the_panel(workplace: Path, small_run: list[str], panels: str) -> None:
    train.main(["fit", *small_run, "-c", panels, "-c", "configs/trainer/tensorboard.yaml"])
    (path,) = (workplace / "runs" / "quickstart" / "tensorboard").rglob("events.out.tfevents.*")
    events = EventAccumulator(str(path), size_guidance={"images": 0, "scalars": 0}).Reload()
    assert [image.step for image in events.Images("heatmaps")] == [6, 12]
    assert all(image.width > 100 for image in events.Images("heatmaps"))
    assert len(events.Scalars("train/loss")) == 2
    assert not (workplace / "runs" / "quickstart" / "panels").exists()
