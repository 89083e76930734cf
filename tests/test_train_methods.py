"""Runs of every method: the baselines of the SRAE, dimensions of Z, μ-Lasso and inversion masks."""

import csv
import json
from pathlib import Path

import pytest
import torch
import yaml

import vitrine
from lightning_modules import InversionModule, SRAEModule
from tests.helpers.commands import (
    FEW_STEPS,
    QUICKSTART,
    SMALL,
    SMALL_IMAGES,
    SMALL_MODELS,
    SMALL_SRAE,
    THIN_VGG19,
    fit_and_test,
    refusal,
    run,
)
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation


def test_a_mu_lasso_run_from_fit_to_predict(
    workplace: Path, class_folder: Path, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    """On the trained network that the repository holds; what a run leaves beside the explainer."""
    config = ["-c", "configs/flower_mu_lasso.yaml", *SMALL, *SMALL_IMAGES, *SMALL_MODELS["MuLassoModule"]]
    fitted = run("fit", *config)
    assert not [warning for warning in recwarn if "returned `None`" in str(warning.message)]
    assert fitted.trainer.callback_metrics["val/reconstruction_auc"] > 0.5
    validated = run("validate", *config).trainer.callback_metrics
    assert validated["val/reconstruction_auc"] == fitted.trainer.callback_metrics["val/reconstruction_auc"]
    run("test", *config)
    run("predict", *config, "--data.init_args.predict_root", str(class_folder / "test"))
    assert "Traceback" not in capsys.readouterr().err
    folder = workplace / "runs" / "flower_mu_lasso"
    metrics = json.loads((folder / "metrics.json").read_text())
    promised = {"reconstruction_auc", "iou", "pointing_game", "ablation/selected", "ablation/random"}
    assert {f"test/{name}" for name in promised} <= set(metrics)
    assert not any("f_reg" in name for name in metrics)
    left = {"relevance.csv", "relevance.json", "picks.csv", "ablation.csv", "average_images", "report", "predictions"}
    assert left <= {path.name for path in folder.iterdir()}
    loaded = vitrine.load(folder / "explainer")
    metadata = json.loads((folder / "explainer" / "explainer.json").read_text())["metadata"]
    assert metadata["solver"] == "exact"
    assert metadata["largest_relative_gap"] <= 1e-6
    assert metadata["filters"] == len(loaded.relevant_filters()) > 0  # type: ignore[operator]
    assert torch.equal(loaded.weights, fitted.model.explainer.weights.cpu())  # type: ignore[arg-type]
    lines = (folder / "predictions" / "predictions.csv").read_text().splitlines()
    assert len(lines) == 1 + 4
    assert {"label_1", "score_1", "label_2", "score_2"} <= set(lines[0].split(","))


def test_a_fitted_mu_lasso_is_fine_tuned_by_steps(workplace: Path) -> None:
    config = ["-c", "configs/flower_mu_lasso.yaml", *SMALL, *SMALL_IMAGES, *SMALL_MODELS["MuLassoModule"]]
    callbacks = ["--trainer.callbacks=[]"]
    exact = run("fit", *config).model.explainer
    steps = ["--model.init_args.training.solver=sgd", "--model.init_args.init_from=runs/flower_mu_lasso/explainer"]
    again = "--trainer.default_root_dir=runs/tuned"
    tuned = run(
        "fit",
        *config,
        *callbacks,
        *steps,
        again,
        "--model.init_args.optimizer=SGD",
        "--model.init_args.optimizer.init_args.lr=1e-6",
    ).model.explainer
    torch.testing.assert_close(tuned.weights, exact.weights, atol=1e-4, rtol=0)
    for name in ("scaling.shift", "scaling.factor", "intercept"):
        assert torch.equal(tuned.head_state()[name], exact.head_state()[name])


def test_masks_are_optimised_without_a_fit(
    weights: Path, class_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Section 4.3 of Du et al.: every class of every image; what a run from test to predict leaves."""
    config = ["-c", "configs/voc_vgg19_inversion.yaml", *SMALL, *SMALL_IMAGES, *THIN_VGG19, *FEW_STEPS]
    assert "nothing to fit" in refusal(capsys, "fit", *config)
    validated = run("validate", *config, "--data.init_args.loading.val_fraction=0.5").trainer.callback_metrics
    assert validated["val/inversion/steps"] == 3
    cli = run("test", *config)
    assert isinstance(cli.model, InversionModule)
    assert cli.model.explainer.settings.class_penalty == 10
    run("predict", *config, "--data.init_args.predict_root", str(class_folder / "test"))
    folder = Path(cli.trainer.default_root_dir)
    metrics = json.loads((folder / "metrics.json").read_text())
    counted = ("pointing_game/hits", "pointing_game/misses", "pointing_game/degenerate", "pointing_game/skipped")
    # Of five images, three show two classes, and one none, for which what is predicted is explained.
    assert sum(metrics[f"test/{name}"] for name in counted) == 8
    assert metrics["test/pointing_game/skipped"] == 1
    assert {
        "test/inversion/not_converged",
        "test/inversion/degenerate",
        "test/inversion/steps",
        "test/inversion/loss",
    } <= set(metrics)
    assert (folder / "report" / "index.html").is_file()
    assert len((folder / "predictions" / "predictions.csv").read_text().splitlines()) == 1 + 4
    assert not (folder / "checkpoints").exists()


def test_untrained_explainers_predict_without_shards(
    weights: Path, class_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Classes have the names that the weights record, or numbers; what is missing is said at once."""
    backbone = "{name: resnet18, weights: runs/folder_classifier/classifier.safetensors}"
    of_network = ["--model.init_args.backbone", backbone]
    config = ["--data=configs/data/folder.yaml", "--data.init_args.shards=nowhere", *SMALL, *SMALL_IMAGES]
    config += ["--data.init_args.root=null", "--trainer.callbacks+=PredictionWriter"]
    for model in ("AttributionModule", "ComparisonModule"):
        few = ["--model.init_args.explainers={cam: {method: GradCAM}}"] if model == "ComparisonModule" else []
        args = ["--model", model, *of_network, *few, *config, "--trainer.default_root_dir", f"runs/{model}"]
        run("predict", *args, "--data.init_args.predict_root", str(class_folder / "test"))
        (table,) = (weights / "runs" / model).rglob("predictions.csv")
        with table.open(encoding="utf-8") as file:
            assert {row["class_name"] for row in csv.DictReader(file)} <= {"class 0", "class 1"}
    assert "predict_root is not given" in refusal(capsys, "predict", *args)
    assert "predict_root gone is no folder" in refusal(capsys, "predict", *args, "--data.init_args.predict_root=gone")


def test_a_fitted_predictor_is_where_masks_begin(workplace: Path) -> None:
    """Without steps they are its answer, which the panels show."""
    args = ["--model=configs/model/inversion.yaml", "--data=configs/data/flower.yaml", *SMALL, *FEW_STEPS]
    flower = "{name: vitrine.data.an8flower.network:FlowerNet, weights: vitrine/data/an8flower/flower_net.safetensors}"
    args += [f"--model.init_args.backbone={flower}", "--model.init_args.inversion.predictor=8"]
    args += ["--model.init_args.optimizer=Adam", "--model.init_args.optimizer.init_args.lr=0.01"]
    fitted = run("fit", *args, "--trainer.callbacks+=HeatmapPanel").model.explainer
    folder = workplace / "runs" / "unnamed"
    assert len(list((folder / "panels").iterdir())) == 2
    no_steps = ["--model.init_args.inversion.overrides={inversion_steps: 0, class_steps: 0}"]
    tested = run("test", *args, *no_steps).model.explainer
    assert all(torch.equal(value, tested.head_state()[name]) for name, value in fitted.head_state().items())
    assert json.loads((folder / "metrics.json").read_text())["test/inversion/steps"] == 0
    loaded = vitrine.load(folder / "explainer")
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loaded.explain(image).heatmaps, fitted.explain(image).heatmaps)


def test_masks_are_tested_on_images_without_classes(workplace: Path) -> None:
    model = ["--model=configs/model/inversion.yaml", "--model.init_args.runs.explain=label", *FEW_STEPS]
    data = ["--data=configs/data/saliency.yaml", *SMALL, *SMALL_IMAGES, "--model.init_args.backbone.weights=null"]
    cli = run("test", *model, *data)
    metrics = json.loads((Path(cli.trainer.default_root_dir) / "metrics.json").read_text())
    assert 0 < metrics["test/iou"] < 100


@pytest.mark.parametrize(
    "options",
    [
        ["--model.init_args.training.objective=nn"],
        ["--model.init_args.training.objective=sae", "--model.init_args.training.classes_at_once=4"],
        ["--model.init_args.training.objective=cae", "--model.init_args.srae.trunk=shared"],
        [
            "--model.init_args.srae.pooling=positions",
            "--data.init_args.sampling.positives_per_class=2",
            *SMALL_IMAGES,
            "--trainer.callbacks+=DropDeadFeatures",
        ],
    ],
    ids=" ".join,
)
def test_what_the_srae_is_compared_with_runs(options: list[str], workplace: Path) -> None:
    """And is not taken for something else."""
    folder = fit_and_test("-c", "configs/quickstart.yaml", *SMALL, *SMALL_SRAE, *options)
    assert (folder / "masked" / "examples.png").is_file()
    loaded = vitrine.load(folder / "explainer")
    names = {name: ["first", ""] for name in loaded.classes}
    (folder / "explainer" / "names.yaml").write_text(yaml.safe_dump(names))
    run("test", "-c", "configs/quickstart.yaml", *SMALL, *SMALL_SRAE, *options)
    assert "first" in (folder / "report" / "cards.js").read_text()


VIT = {"img_size": 64, "patch_size": 16, "embed_dim": 24, "depth": 1, "num_heads": 2}
TRANSFORMER = [
    *("-c", "configs/quickstart.yaml", *SMALL, *SMALL_SRAE, *SMALL_IMAGES),
    *("--model.init_args.backbone.weights=null", "--model.init_args.backbone.num_classes=6"),
    *("--model.init_args.backbone.name=timm:vit_tiny_patch16_224", f"--model.init_args.backbone.arguments={VIT}"),
    "--model.init_args.srae.layer=norm",
]
"""Heads over the tokens of a small transformer of random weights."""


@pytest.mark.parametrize(
    "options",
    [
        ["--model.init_args.srae.pooling=cls"],
        ["--model.init_args.srae.pooling=mean_tokens", "--model.init_args.training.classes_at_once=4"],
        ["--model.init_args.srae.pooling=tokens", "--model.init_args.srae.trunk=shared"],
    ],
    ids=" ".join,
)
def test_x_features_of_a_transformers_tokens(options: list[str], workplace: Path, class_folder: Path) -> None:
    folder = fit_and_test(*TRANSFORMER, *options)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert {"test/f_reg", "test/f_cls", "test/iou", "test/pointing_game"} <= set(metrics)
    run("predict", *TRANSFORMER, *options, "--data.init_args.predict_root", str(class_folder / "test"))
    assert (folder / "report" / "index.html").is_file()
    assert len((folder / "predictions" / "predictions.csv").read_text().splitlines()) == 1 + 4
    loaded = vitrine.load(folder / "explainer")
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    both, alone = loaded.explain(image, 1), loaded.explain(image[1:], 1)
    torch.testing.assert_close(alone.heatmaps[0], both.heatmaps[1], atol=1e-6, rtol=1e-4)


def test_what_a_transformer_does_not_take_is_refused_before_the_first_step(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refusal(capsys, "fit", *TRANSFORMER, "--model.init_args.srae.pooling=positions")
    assert "model.init_args.srae.pooling is 'positions'; give 'cls', 'mean_tokens', 'tokens' or 'flatten'" in told
    told = refusal(capsys, "fit", *TRANSFORMER, "--model.init_args.srae.image_size=80")
    assert "model.init_args.srae.image_size is 80; give 64, which works" in told
    size = "--data.init_args.preprocessing.size=48"
    told = refusal(capsys, "fit", *TRANSFORMER, "--model.init_args.srae.pooling=cls", size)
    assert "data.init_args.preprocessing.size is 48; give 64, which works" in told


FILTERS_OF_TOKENS = [
    *("-c", "configs/flower_mu_lasso.yaml", *SMALL, *SMALL_IMAGES, *SMALL_MODELS["MuLassoModule"]),
    *("--model.init_args.backbone.weights=null", "--model.init_args.backbone.num_classes=6"),
    *("--model.init_args.backbone.name=timm:vit_tiny_patch16_224", f"--model.init_args.backbone.arguments={VIT}"),
]
"""Filters of the same small transformer."""


def test_filters_of_a_transformers_tokens(
    workplace: Path, class_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refusal(capsys, "fit", *FILTERS_OF_TOKENS, "--model.init_args.mu_lasso.image_size=80")
    assert "model.init_args.mu_lasso.image_size is 80; give 64, which works" in told
    told = refusal(capsys, "fit", *FILTERS_OF_TOKENS, "--data.init_args.preprocessing.size=48")
    assert "data.init_args.preprocessing.size is 48; give 64, which works" in told
    told = refusal(capsys, "fit", *FILTERS_OF_TOKENS, "--model.init_args.mu_lasso.layers=[blocks.0.nrm1]")
    assert "model.init_args.mu_lasso.layers is ['blocks.0.nrm1']; give ['blocks.0.norm1'], which works" in told
    folder = fit_and_test(*FILTERS_OF_TOKENS)
    run("predict", *FILTERS_OF_TOKENS, "--data.init_args.predict_root", str(class_folder / "test"))
    assert {"picks.csv", "ablation.csv", "average_images", "report"} <= {path.name for path in folder.iterdir()}
    assert len((folder / "predictions" / "predictions.csv").read_text().splitlines()) == 1 + 4
    loaded = vitrine.load(folder / "explainer")
    assert {"patch_embed.proj", "blocks.0.norm1", "blocks.0.norm1[0]"} <= set(loaded.options.layers)  # type: ignore[attr-defined]
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    both, alone = loaded.explain(images, 1), loaded.explain(images[1:], 1)
    assert both.valid.any()
    torch.testing.assert_close(alone.heatmaps[0], both.heatmaps[1], atol=1e-5, rtol=1e-3)


SELECTION = ["-c", "configs/quickstart.yaml", "--model=SelectedFeaturesModule", *SMALL]
"""The baselines that choose dimensions of Z, with the layer and backbone of an SRAE's configuration."""


def test_dimensions_that_a_lasso_selects(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit_and_test(*SELECTION, "--model.init_args.selection.alpha=0.1")
    assert "val/f_reg" in run("validate", *SELECTION).trainer.callback_metrics
    told = refusal(capsys, "test", *SELECTION, "--model.init_args.selection.kind=random")
    assert "was trained with kind: lasso, not random; set model.init_args.selection.kind: lasso" in told


@pytest.mark.parametrize("options", [["random"], ["logit", "--model.init_args.srae.layer=classifier"]], ids=" ".join)
def test_dimensions_that_need_no_fit(options: list[str], workplace: Path) -> None:
    run("test", *SELECTION, f"--model.init_args.selection.kind={options[0]}", *options[1:])
    metrics = json.loads((workplace / "runs" / "quickstart" / "metrics.json").read_text())
    assert metrics["test/pointing_game"] >= 0
    assert metrics.get("test/f_reg", 0) == pytest.approx(0, abs=1e-4)


class NeedsGradients(SRAEModule):
    """Takes a gradient in every step."""

    def slope(self) -> float:
        weight = next(self.explainer.parameters())
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad((weight * weight).sum(), weight)
        return float(gradient.abs().sum())

    def validation_step(self, batch: Batch) -> None:
        self.log("val/slope", self.slope(), batch_size=len(batch["label"]))

    def test_step(self, batch: Batch) -> Explanation:  # type: ignore[override]
        self.log("test/slope", self.slope(), batch_size=len(batch["label"]))
        return super().test_step(batch)

    def predict_step(self, batch: Batch) -> Explanation:
        assert self.slope() > 0
        return super().predict_step(batch)


def test_gradients_can_be_taken_in_every_command(workplace: Path, class_folder: Path) -> None:
    """Whatever trainer.inference_mode says."""
    model = ["--model", f"{__name__}.NeedsGradients"]
    args = [*QUICKSTART[1:], *model, *SMALL, *SMALL_SRAE, "--trainer.inference_mode=true"]
    assert run("fit", *args).trainer.callback_metrics["val/slope"] > 0
    assert run("validate", *args).trainer.callback_metrics["val/slope"] > 0
    assert run("test", *args).trainer.callback_metrics["test/slope"] > 0
    run("predict", *args, "--data.init_args.predict_root", str(class_folder / "test"))


MEASURES = [
    "--trainer.callbacks=MapMeasures",
    "--trainer.callbacks.init_args.measures=[infidelity,max_sensitivity,road,sparseness,parameter_randomization]",
    "--trainer.callbacks.init_args.infidelity.num_samples=2", "--trainer.callbacks.init_args.max_sensitivity.num_samples=1",
    "--trainer.callbacks.init_args.road.shares=[0.3]", "--trainer.callbacks.init_args.parameter_randomization.stages=1",
]  # fmt: skip


def test_measures_of_heatmaps_are_reached_by_config(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flower = "{name: vitrine.data.an8flower.network:FlowerNet, weights: vitrine/data/an8flower/flower_net.safetensors}"
    flowers = ["test", "--data=configs/data/flower.yaml", *SMALL]
    inversion = [*flowers, "--model=configs/model/inversion.yaml", *FEW_STEPS, f"--model.init_args.backbone={flower}"]
    run(*inversion, *MEASURES)
    folder = workplace / "runs" / "unnamed"
    metrics = json.loads((folder / "metrics.json").read_text())
    for name in ("infidelity", "max_sensitivity", "road/gap", "sparseness", "parameter_randomization"):
        assert metrics[f"test/{name}"] is not None
        assert metrics[f"test/{name.partition('/')[0]}/degenerate"] == metrics["test/sparseness/degenerate"]
    assert "test/complexity" not in metrics
    told = refusal(capsys, *inversion, *MEASURES, "--trainer.callbacks.init_args.road.shares=[1.5]")
    assert "road.shares" in told
    assert "1.5" in told


def test_measures_of_several_explainers_in_one_pass(workplace: Path) -> None:
    """Per-image values, whose mean is the figure, and curves for each of them."""
    flower = "{name: vitrine.data.an8flower.network:FlowerNet, weights: vitrine/data/an8flower/flower_net.safetensors}"
    explainers = "{Center: {method: Center}, CAM: {method: GradCAM}}"
    run(
        "test", "--data=configs/data/flower.yaml", *SMALL, "--model=ComparisonModule",
        f"--model.init_args.backbone={flower}", f"--model.init_args.explainers={explainers}", *MEASURES,
    )  # fmt: skip
    folder = workplace / "runs" / "unnamed" / "explainers"
    for name in ("Center", "CAM"):
        metrics = json.loads((folder / name / "metrics.json").read_text())
        evaluation = json.loads((folder / name / "evaluation.json").read_text())
        assert evaluation["curves"]["road/morf"]["x"] == [0.3]
        assert evaluation["settings"]["infidelity"] == "2 squares of 32 px, logit"
        with (folder / name / "per_image.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        for figure in ("infidelity", "road/morf", "parameter_randomization", "sparseness"):
            values = [float(row[figure]) for row in rows if row[figure]]
            assert metrics[f"test/{figure}"] == pytest.approx(sum(values) / len(values), rel=1e-5)
    # What is the same for all images is so under other weights and noise.
    assert json.loads((folder / "Center" / "metrics.json").read_text())["test/max_sensitivity"] == pytest.approx(
        0, abs=1e-5
    )
    assert metrics["test/max_sensitivity"] > 1e-3
