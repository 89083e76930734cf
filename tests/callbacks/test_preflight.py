"""What is told, and refused, before a run's first step."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torchvision
from torch.utils.data import DataLoader
from typing_extensions import override

import train
from callbacks import PredictionWriter, Preflight, ReportGallery, SkippedSamples
from callbacks.checkpoint import RunCheckpoint
from callbacks.preflight import check_is_worth_it, show
from callbacks.preflight_facts import NO_EXPORT
from callbacks.stop_signals import StopSignals
from datamodules import ShardDataModule
from lightning_modules import MuLassoModule, SRAEModule
from tests.helpers import shard_fakes
from tests.helpers.flat_options import make_flat
from vitrine.backbones.networks import BackboneOptions
from vitrine.core.verbosity import VARIABLE
from vitrine.data.preprocessing import Preprocessing
from vitrine.data.shards.sample import Sample
from vitrine.data.shards.writer import write_shards

OWN = BackboneOptions("tests.helpers.own_network:OwnNetwork")
SRAE: dict[str, Any] = {"layer": "conv", "num_features": 2, "hidden": (4,), "image_size": 8}


@pytest.fixture(autouse=True)
def verbose(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole table is looked at."""
    monkeypatch.setenv(VARIABLE, "verbose")


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = shard_fakes.write_split(tmp_path / "set", "train", 23, shard_size=10)
    return shard_fakes.write_split(folder, "test", 5)


def told(
    module: Any, data: ShardDataModule | None, capsys: pytest.CaptureFixture[str], stage: str = "fit", **options: Any
) -> dict[str, str]:
    """The table of a run by its rows' names."""
    capsys.readouterr()
    epochs = {"max_epochs": 2} if stage == "fit" else {}
    trainer = pl.Trainer(**{**shard_fakes.QUIET, **epochs, **options}, callbacks=[Preflight()])
    getattr(trainer, stage)(module, datamodule=data)
    lines = capsys.readouterr().out.splitlines()
    begin = next(n for n, line in enumerate(lines) if line.startswith(stage)) + 2
    return {line.split("  ")[0].strip(): line.partition("  ")[2].strip() for line in lines[begin:] if "  " in line}


@pytest.mark.parametrize(
    ("level", "rows", "names"),
    [
        ("normal", [("data", "D"), ("workers", "2"), ("SRAEModule", "3 heads")], ["fit", "data", "SRAEModule"]),
        ("quiet", [("data", "D")], []),
        ("quiet", [("data", "D"), ("", "WARNING: random")], ["fit", "data", "WARNING:"]),
    ],
)
def test_without_verbose_it_is_a_few_lines(
    level: str, rows: list[tuple[str, str]], names: list[str], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv(VARIABLE, level)
    monkeypatch.setattr("callbacks.preflight.rows_of_run", lambda *_: rows)
    show(SimpleNamespace(datamodule=None, is_global_zero=True), None, "fit")  # type: ignore[arg-type]
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.strip()] == names


def srae(backbone: BackboneOptions = OWN, **options: Any) -> SRAEModule:
    return make_flat(SRAEModule, backbone, **SRAE, **options)


def test_the_table_of_a_fit(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    rows = told(
        srae(), shard_fakes.module_of(shards), capsys, default_root_dir=tmp_path / "run", accumulate_grad_batches=2
    )
    assert rows["ranks"] == "1"
    assert rows["strategy"] == "SingleDevice, precision 32-true, device cpu"
    assert rows["data"] == f"ShardDataModule in {shards}"
    assert rows["samples"] == "train 21, held out 2, test 5"
    assert rows["shards"] == "train 3, test 1"
    assert rows["batches"] == "4 images a rank; 6 batches and 3 steps an epoch, 2 epochs"
    assert rows["workers"] == "0 a rank"
    assert rows["classes"] == "3 of the data set: ant, bee, cat"
    assert rows["logits"] == "3 of the network; labels: equal by number, names unknown"
    assert rows["network"] == f"{OWN.name}, weights as its class initialises them"
    heads = 3 * ((4 * 4 + 4) + (4 * 2 + 2) + (2 * 4 + 4) + (4 * 4 + 4) + 2)  # encoder, decoder and predictor of each
    assert rows["SRAEModule"] == f"3 heads, {heads} parameters, {heads} of them trained now"
    assert rows["memory"].startswith(f"{4 * 4 * heads / 1000:.3g} kB for weights, gradients and moments")
    assert rows["features"].startswith(("kept in", "23 of 23 will be computed into"))
    assert rows["results"].startswith(str(tmp_path / "run"))


def test_the_table_of_a_test_is_short(
    shards: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    rows = told(srae(), shard_fakes.module_of(shards), capsys, "test")
    assert rows["samples"] == "test 5"
    assert not {"memory", "SRAEModule", "features"} & set(rows)
    assert told(srae(), shard_fakes.module_of(shards), capsys, "validate")["samples"] == "held out 2"


def test_augmented_images_are_streamed(
    shards: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    rows = told(srae(), shard_fakes.module_of(shards, augment=True), capsys)
    assert rows["features"] == "images are streamed, and nothing is kept"


def test_random_weights_of_a_known_network_are_a_warning(
    shards: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    module = make_flat(
        SRAEModule, BackboneOptions("resnet18", num_classes=3), **SRAE | {"layer": "layer1", "image_size": 32}
    )
    capsys.readouterr()
    data = shard_fakes.module_of(shards)
    pl.Trainer(max_epochs=1, limit_train_batches=0, **shard_fakes.QUIET, callbacks=[Preflight()]).fit(
        module, datamodule=data
    )
    assert "WARNING: random weights" in capsys.readouterr().out


def test_bare_loaders_are_told_of_as_far_as_they_are_known(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    capsys.readouterr()
    batch = {"image": torch.rand(2, 3, 8, 8), "label": torch.tensor([0, 1]), "key": ["a", "b"]}
    trainer = pl.Trainer(max_epochs=1, **shard_fakes.QUIET, callbacks=[Preflight()])
    trainer.fit(srae(), DataLoader([batch], batch_size=None))  # type: ignore[arg-type]
    out = capsys.readouterr().out
    assert "loaders given to the trainer" in out
    assert "logits" in out


def test_an_empty_set_and_a_disk_that_is_too_small_stop_the_run(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = shard_fakes.module_of(shards)
    monkeypatch.setattr(ShardDataModule, "num_samples", lambda _, split: 0 if split == "test" else 21)
    with pytest.raises(ValueError, match=r"has no samples for test .*give another data set"):
        pl.Trainer(**shard_fakes.QUIET, callbacks=[Preflight()]).test(srae(), datamodule=data)
    monkeypatch.setattr(ShardDataModule, "cached_samples", lambda *_: 10, raising=False)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=11 * 4 * (4 + 3) - 1))
    with pytest.raises(
        ValueError, match=r"take 308 B and 307 B are free in .*; free some, give data\.init_args\.features\.folder"
    ):
        pl.Trainer(max_epochs=1, **shard_fakes.QUIET, callbacks=[Preflight()]).fit(srae(), datamodule=data)
    assert not (shards.parent / "features").exists()


@pytest.mark.parametrize("kind", [SRAEModule, MuLassoModule])
def test_a_folder_of_imagenet_classes_with_an_imagenet_network(
    kind: type[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of a thousand classes stop the run with what to set; set so, labels are the network's."""
    state = torchvision.models.squeezenet1_1().state_dict()
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: state)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: state)
    for split in ("train", "test"):
        images = shard_fakes.write_images(tmp_path / f"{split}_images", 8)
        samples = [Sample(f"{split}_{n}", path, n % 2) for n, path in enumerate(images)]
        facts: dict[str, Any] = {"dataset": "pets", "split": split, "classes": ["tabby", "goldfish"], "annotations": ()}
        write_shards(samples, tmp_path / "set" / split, **facts, multi_label=False, shard_size=9, workers=0)
    backbone = BackboneOptions("squeezenet1_1", "DEFAULT")
    options = {"image_size": 32} if kind is MuLassoModule else SRAE | {"layer": "features.2", "image_size": 32}
    preprocessing = {"preprocessing": Preprocessing(size=32, resize=32)}
    remedy = {"class_map": "by_name"} if kind is MuLassoModule else {"explained_classes": "by_name"}
    trainer = pl.Trainer(max_epochs=1, **{**shard_fakes.QUIET, "default_root_dir": tmp_path}, callbacks=[Preflight()])
    with pytest.raises(ValueError, match=r"2 of the backbone's 1000, .*'tabby' is label 0, and class 281 .*: by_name"):
        trainer.fit(
            make_flat(kind, backbone, **options), datamodule=shard_fakes.module_of(tmp_path / "set", **preprocessing)
        )
    assert not (tmp_path / "features").exists()
    module = make_flat(kind, backbone, **options, **remedy)
    trainer.fit(module, datamodule=shard_fakes.module_of(tmp_path / "set", **preprocessing))
    assert module.explainer.classes[1] == "goldfish"
    if kind is MuLassoModule:
        used = module.explainer.weights.detach().any(dim=0).nonzero().flatten().tolist()
        assert set(used) <= {1, 281}
        assert used
    else:
        assert list(module.explainer.explained_classes) == [1, 281]
        assert module.training_data.class_counts[281] == 4


def test_classes_are_compared_before_the_run_writes_its_configuration(
    workplace: Path, small_run: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        train.main(["fit", *small_run, "--model.init_args.class_map={red: orange}"])
    assert "'red' and 'orange' are both class 1 of the backbone" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "quickstart" / "config-fit.yaml").exists()
    assert not (tmp_path / "data" / "features").exists()


@pytest.mark.parametrize("stage", ["fit", "test"])
def test_shards_that_are_not_those_of_the_index_stop_the_run(shards: Path, tmp_path: Path, stage: str) -> None:
    split = shards / ("train" if stage == "fit" else "test")
    tar = min(split.glob("*.tar"))
    data = bytearray(tar.read_bytes())
    data[700] ^= 1
    tar.write_bytes(data)
    trainer = pl.Trainer(**shard_fakes.QUIET, max_epochs=1, callbacks=[Preflight()], default_root_dir=tmp_path / "run")
    with pytest.raises(ValueError, match=rf"{tar.name} is not the file that index\.json lists"):
        getattr(trainer, stage)(srae(), datamodule=shard_fakes.module_of(shards))
    shard_fakes.module_of(shards, on_error="skip").check_shards(stage)


def test_only_the_shards_that_a_stage_reads_are_checked(shards: Path) -> None:
    min((shards / "test").glob("*.tar")).write_bytes(b"torn")
    data = shard_fakes.module_of(shards)
    data.setup("fit")
    data.check_shards("fit")
    data.check_shards("validate")
    with pytest.raises(ValueError, match=r"SHA-256 is another"):
        data.check_shards("test")


EXPLAINING = SimpleNamespace(explainer=None)


def stub_trainer(*callbacks: pl.Callback, module: Any = EXPLAINING, **limits: Any) -> Any:
    monitors = [callback for callback in callbacks if isinstance(callback, RunCheckpoint)]
    everything = {f"limit_{stage}_batches": 1.0 for stage in ("val", "test", "predict")} | limits
    return SimpleNamespace(
        callbacks=list(callbacks), checkpoint_callbacks=monitors, lightning_module=module, **everything
    )


@pytest.mark.parametrize(
    ("trainer", "stage", "told"),
    [
        (stub_trainer(limit_test_batches=0), "test", r"trainer\.limit_test_batches is 0"),
        (stub_trainer(limit_val_batches=0), "validate", r"trainer\.limit_val_batches is 0"),
        (
            stub_trainer(PredictionWriter(), limit_predict_batches=0.0),
            "predict",
            r"trainer\.limit_predict_batches is 0",
        ),
        (
            stub_trainer(Preflight(), StopSignals(), SkippedSamples(), ReportGallery()),
            "predict",
            "add PredictionWriter",
        ),
        (stub_trainer(module=SimpleNamespace()), "predict", "SimpleNamespace makes none; take an explainer's module"),
        (
            stub_trainer(RunCheckpoint(monitor="val/a"), limit_val_batches=0),
            "fit",
            r"'val/a', but nothing is validated",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_run_of_which_nothing_is_left_is_refused(trainer: Any, stage: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        check_is_worth_it(trainer, None, stage)


class TakesPredictions(pl.Callback):
    """A callback of one's own."""

    @override
    def on_predict_batch_end(self, *_: Any, **__: Any) -> None:
        """Does nothing here."""


@pytest.mark.parametrize(
    ("trainer", "stage"),
    [
        (stub_trainer(PredictionWriter()), "predict"),
        (stub_trainer(TakesPredictions()), "predict"),
        (stub_trainer(RunCheckpoint(monitor="val/a")), "fit"),
        (stub_trainer(RunCheckpoint(monitor="train/a"), limit_val_batches=0), "fit"),
        (stub_trainer(RunCheckpoint(), limit_test_batches=0), "fit"),
    ],
)
def test_a_run_of_which_something_is_left_is_not(trainer: Any, stage: str) -> None:
    check_is_worth_it(trainer, None, stage)


def test_best_by_a_validation_needs_samples_to_validate(shards: Path) -> None:
    data = shard_fakes.module_of(shards, val_fraction=0.0)
    data.setup("fit")
    with pytest.raises(ValueError, match=r"nothing is validated; give data\.init_args\.loading\.val_fraction"):
        check_is_worth_it(stub_trainer(RunCheckpoint(monitor="val/a")), data, "fit")


def test_a_fit_that_exports_nothing_says_so(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a file says callbacks: in place of callbacks+:."""
    monkeypatch.setenv("COLUMNS", "200")
    assert told(srae(), shard_fakes.module_of(shards), capsys, default_root_dir=tmp_path)["export"] == NO_EXPORT
