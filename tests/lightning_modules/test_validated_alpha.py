"""A validation chooses α on images that are held out, and a test takes it; against the plain metric, in two processes."""

import json
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl

import train
from datamodules import FlowerDataModule
from datamodules.options import LoadingOptions
from lightning_modules.attribution import AttributionModule
from lightning_modules.comparison import ComparedExplainer, ComparisonModule
from lightning_modules.inversion import InversionModule
from tests.helpers.ranks import RankPool
from vitrine.backbones.networks import BackboneOptions
from vitrine.core.parser_messages import one_sentence
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers.attribution import AttributionOptions
from vitrine.metrics import LocalizationError, MetricOptions

ROOT = Path(__file__).parents[2]
BACKBONE = BackboneOptions(
    "vitrine.data.an8flower.network:FlowerNet", str(ROOT / "vitrine" / "data" / "an8flower" / "flower_net.safetensors")
)
METHOD = AttributionOptions(method="GradCAM")


def data_of(shards: Path) -> FlowerDataModule:
    loading = LoadingOptions(batch_size=4, num_workers=0, val_fraction=0.4)
    return FlowerDataModule(shards=shards, preprocessing=Preprocessing(64, None), loading=loading)


def trainer_of(folder: Path, **options: Any) -> pl.Trainer:
    quiet = {
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "logger": False,
        "enable_checkpointing": False,
    }
    settings = {"accelerator": "cpu", "devices": 1, "use_distributed_sampler": False, **quiet, **options}
    return pl.Trainer(default_root_dir=folder, **settings)


def validate(folder: Path, shards: Path, **options: Any) -> dict[str, Any]:
    trainer = trainer_of(folder, **options)
    trainer.validate(AttributionModule(BACKBONE, METHOD, explain="label"), datamodule=data_of(shards), verbose=False)
    written: dict[str, Any] = json.loads((folder / "validation.json").read_text())
    logged = trainer.callback_metrics
    assert float(logged["val/localization/alpha"]) == written["localization_alpha"]
    assert float(logged["val/localization/error"]) == pytest.approx(written["localization_error"])
    return written


def figures_of_test(folder: Path, shards: Path, **options: Any) -> dict[str, float]:
    trainer, module = trainer_of(folder), AttributionModule(BACKBONE, METHOD, explain="label", **options)
    trainer.test(module, datamodule=data_of(shards), verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def expected_curve(batches: Any) -> LocalizationError:
    metric = LocalizationError()
    explainer = AttributionModule(BACKBONE, METHOD).explainer
    for batch in batches:
        metric.update(explainer.explain(batch["image"], batch["label"]), batch)
    return metric


def test_alpha_is_chosen_on_held_out_images_and_taken_by_the_test(flower_shards: Path, tmp_path: Path) -> None:
    assert figures_of_test(tmp_path, flower_shards)["test/localization/alpha"] == 1  # nothing was chosen
    written = validate(tmp_path, flower_shards)
    data = data_of(flower_shards)
    data.setup("validate")
    held_out = expected_curve(data.val_dataloader())
    assert written["error_curve"]["error"] == pytest.approx(held_out.error_curve().tolist())
    assert written["localization_alpha"] == float(held_out.compute()["localization/best_alpha"])
    assert written["images"] == int(held_out.measured) > 0
    assert written["explain"] == "label"
    data.setup("test")
    of_test = expected_curve(data.test_dataloader())
    figures = figures_of_test(tmp_path, flower_shards)
    alpha = written["localization_alpha"]
    assert figures["test/localization/alpha"] == alpha != 1
    assert figures["test/localization/error"] == pytest.approx(float(of_test.error_curve()[int(2 * alpha)]))
    assert figures["test/localization/best_error"] == pytest.approx(float(of_test.error_curve().min()))
    own = figures_of_test(tmp_path, flower_shards, metrics=MetricOptions(localization_alpha=2.5))
    assert own["test/localization/error"] == pytest.approx(float(of_test.error_curve()[5]))


def test_each_explainer_of_a_comparison_has_an_alpha_of_its_own(flower_shards: Path, tmp_path: Path) -> None:
    explainers = {"cam": ComparedExplainer(method="GradCAM"), "middle": ComparedExplainer(method="Center")}
    module = ComparisonModule(BACKBONE, explainers, explain="label")
    trainer = trainer_of(tmp_path)
    trainer.validate(module, datamodule=data_of(flower_shards), verbose=False)
    alphas = {
        name: json.loads((tmp_path / "explainers" / name / "validation.json").read_text())["localization_alpha"]
        for name in explainers
    }
    assert alphas["cam"] == validate(tmp_path / "alone", flower_shards)["localization_alpha"]
    trainer.test(module, datamodule=data_of(flower_shards), verbose=False)
    found = {name: float(trainer.callback_metrics[f"test/{name}/localization/alpha"]) for name in explainers}
    assert found == alphas


def validated_on_rank(rank: int, folder: Path, shards: Path) -> None:
    trainer = trainer_of(folder, devices=2, strategy="ddp")
    trainer.validate(AttributionModule(BACKBONE, METHOD, explain="label"), datamodule=data_of(shards), verbose=False)


@pytest.mark.parametrize(
    ("method", "explain"),
    [
        (AttributionOptions(method="Saliency"), "label"),
        (AttributionOptions(method="GradCAM", sigma=2.0), "label"),
        (METHOD, "predicted"),
    ],
    ids=["method", "options", "classes"],
)
def test_what_was_chosen_for_other_maps_is_left_aside(
    method: AttributionOptions, explain: Any, flower_shards: Path, tmp_path: Path
) -> None:
    validate(tmp_path, flower_shards)
    trainer, module = trainer_of(tmp_path), AttributionModule(BACKBONE, method, explain=explain)
    with pytest.warns(UserWarning, match=r"validation\.json was chosen for maps of other options, classes or weights"):
        trainer.test(module, datamodule=data_of(flower_shards), verbose=False)
    assert trainer.callback_metrics["test/localization/alpha"] == 1


def test_two_processes_choose_what_one_chooses(ranks: RankPool, flower_shards: Path, tmp_path: Path) -> None:
    one = validate(tmp_path / "one", flower_shards)
    ranks.run(validated_on_rank, tmp_path / "two", flower_shards)
    two = json.loads((tmp_path / "two" / "validation.json").read_text())
    assert two.pop("error_curve")["error"] == pytest.approx(one.pop("error_curve")["error"])
    assert two == {**one, "localization_error": pytest.approx(one["localization_error"])}


def test_an_explainer_on_cached_features_is_validated_on_images_and_a_fit_forgets(
    workplace: Path, small_run: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITRINE_TRACEBACK", "1")
    monkeypatch.setenv("COLUMNS", "200")
    path = workplace / "runs" / "quickstart" / "validation.json"
    train.main(["fit", *small_run])
    assert not path.exists()
    as_in_the_paper = [*small_run, "-c", "configs/metrics/srae_paper.yaml"]
    train.main(["validate", *as_in_the_paper])
    written = json.loads(path.read_text())
    assert written["images"] > 0
    capsys.readouterr()
    train.main(["test", "--verbose", *as_in_the_paper])
    out = capsys.readouterr().out
    assert f"α = {written['localization_alpha']:g}" in out
    assert "tolerance 0 px of the image" in out
    figures = json.loads((workplace / "runs" / "quickstart" / "metrics.json").read_text())
    assert figures["test/localization/alpha"] == written["localization_alpha"]
    told = json.loads((workplace / "runs" / "quickstart" / "evaluation.json").read_text())
    assert told["settings"]["pointing_game"] == "tolerance 0 px of the image"
    assert told["settings"]["localization/error"] == f"α = {written['localization_alpha']:g}"
    assert (told["explain"], told["settings"]["draw_inactive"]) == ("label", "True")
    assert {"iou", "localization"} <= set(told["curves"])
    train.main(["fit", *small_run, "--trainer.max_epochs=3", "--ckpt_path=auto"])
    assert not path.exists()


def test_where_the_option_of_inversion_is_now() -> None:
    message = (
        f"Problem with given class_path '{InversionModule.__module__}.InversionModule':\n"
        "  Group 'runs' does not accept option 'localization_alpha'"
    )
    assert one_sentence(message).endswith("init_args.metrics.localization_alpha now.")
