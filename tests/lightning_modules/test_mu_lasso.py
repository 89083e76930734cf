"""Fitting the μ-Lasso: exact in one pass over all samples, by steps to the same optimum, on two ranks as on one."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor

from lightning_modules import MuLassoModule
from lightning_modules.mu_lasso import largest_curvature
from lightning_modules.optimization import CosineToZero
from tests.helpers import mu_lasso_fakes as fakes
from tests.helpers.ranks import RankPool
from vitrine.backbones.copying import weight_digest
from vitrine.core.batch import Batch
from vitrine.explainers import MuLassoFit
from vitrine.explainers.mu_lasso.explainer import MuLassoOptions
from vitrine.explainers.mu_lasso.fit import MuLassoSolution, label_matrix


def head_of(module: MuLassoModule) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.explainer.head_state().items()}


def assert_same_heads(found: dict[str, Tensor], expected: dict[str, Tensor], atol: float = 1e-6) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=atol, rtol=1e-5)


def objective(module: MuLassoModule, samples: tuple[Tensor, Tensor]) -> float:
    """‖XᵀW − Lᵀ‖² of scaled responses."""
    x, labels = samples
    errors = module.explainer.class_scores(x).detach().double() - label_matrix(labels, 6).double()
    return float(errors.square().sum())


# Exact


@pytest.mark.parametrize("responses", [{}, {"layers": ["features.0"], "normalization": "whole"}], ids=["rows", "sums"])
@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 16},
        {"batch_size": 7, "num_workers": 2},
        {"batch_size": 16, "cache": False},
        {"batch_size": 9, "num_workers": 3, "cache": False},
    ],
    ids=["kept", "kept, workers", "streamed", "streamed, workers"],
)
def test_exact_is_the_optimum_over_all_training_samples(
    flower_shards: Path, tmp_path: Path, options: dict[str, Any], responses: dict[str, Any]
) -> None:
    """22 of 24, two being held out: none is dropped, whatever the batches and workers are."""
    data = fakes.make_data(flower_shards, tmp_path, **options)
    module, expected = fakes.make_module(**responses), fakes.make_module(**responses)
    trainer = fakes.fit(module, data)
    plain = fakes.make_data(flower_shards, tmp_path, batch_size=1)
    plain.setup("fit")
    fit = MuLassoFit(expected.explainer, 22)
    keys = []
    for batch in plain.every_image("train"):
        fit.update(expected.explainer.responses(batch["image"])["features"], batch["label"])
        keys += batch["key"]
    assert len(set(keys)) == 22
    assert (fit.sums is None) == (not responses)
    solution = fit.finish()
    # The optimum of so few samples moves a hundred times as much as the responses do with the size of a batch.
    assert_same_heads(head_of(module), head_of(expected), atol=5e-4)
    assert module.explainer.weights.any()
    assert isinstance(module.solution, MuLassoSolution)
    torch.testing.assert_close(module.solution.objective, solution.objective, rtol=1e-4, atol=1e-9)
    assert trainer.current_epoch == 1
    assert (options.get("cache", True)) == (len(list(tmp_path.iterdir())) > 0)


def test_exact_ends_after_one_epoch_and_tells_what_it_reached() -> None:
    module = fakes.make_module()
    batches = fakes.make_batches(size=64)
    trainer = fakes.fit(module, batches, max_epochs=50)
    assert trainer.current_epoch == 1
    metrics = trainer.callback_metrics
    assert metrics["train/relative_gap"] <= 1e-6
    selected = module.explainer.weights != 0
    assert metrics["train/filters_per_class"] == pytest.approx(float(selected.sum(dim=0).float().mean()))
    assert metrics["train/filters"] == selected.any(dim=1).sum()
    metadata = module.metadata()
    assert metadata["filters"] == int(metrics["train/filters"])
    assert metadata["solver"] == "exact"
    assert metadata["largest_relative_gap"] == pytest.approx(float(metrics["train/relative_gap"]))


def test_a_second_fit_starts_anew() -> None:
    module, afresh = fakes.make_module(), fakes.make_module()
    fakes.fit(module, fakes.make_batches(seed=1))
    fakes.fit(module, fakes.make_batches())
    fakes.fit(afresh, fakes.make_batches())
    assert_same_heads(head_of(module), head_of(afresh))


def test_validation_within_the_fit_sees_the_solved_weights(flower_shards: Path, tmp_path: Path) -> None:
    """Also what callbacks see at the end of the epoch, before the module does."""
    seen = []

    class Look(pl.Callback):
        def on_train_epoch_end(self, _: pl.Trainer, pl_module: Any) -> None:
            seen.append(pl_module.explainer.weights.detach().clone())

    data = fakes.make_data(flower_shards, tmp_path, val_fraction=0.5)
    module = fakes.make_module()
    within = dict(fakes.fit(module, data, callbacks=[Look()]).callback_metrics)
    assert torch.equal(seen[0], module.explainer.weights)
    trainer = pl.Trainer(**fakes.QUIET)
    (after,) = trainer.validate(module, datamodule=data, verbose=False)
    assert after["val/reconstruction_auc"] == within["val/reconstruction_auc"] > 0.6


@pytest.mark.parametrize(
    ("solver", "options"),
    [("exact", {}), ("sgd", {"max_epochs": 2}), ("sgd", {"max_epochs": -1, "max_steps": 3}),
     ("sgd", {"max_epochs": 9, "callbacks": "stop"})],
)  # fmt: skip
def test_what_is_usual_is_learned_when_the_training_ends(
    flower_shards: Path, tmp_path: Path, solver: str, options: dict[str, Any]
) -> None:
    """However it ends, and before whoever looks at the end of the exact fit's epoch."""

    class Stop(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
            assert pl_module.explainer.median_maxima.any() == (solver == "exact")
            trainer.should_stop = trainer.current_epoch == 1

    options = {**options, "callbacks": [Stop()]} if solver == "exact" or "callbacks" in options else options
    data = fakes.make_data(flower_shards, tmp_path, batch_size=22)
    module = fakes.make_module(solver=solver, activation_threshold=0.5)
    fakes.fit(module, data, **options)
    relevant = module.explainer.relevant_indices()
    # Steps by a few epochs have not yet found all that the last one leaves with a weight.
    assert set(module.explainer.median_maxima.nonzero().flatten().tolist()) <= set(relevant)
    layer, channel = module.explainer.responses.filter_of(relevant[0])
    largest = []
    for batch in data.every_image("train"):
        taps = module.explainer.backbone(batch["image"], [layer.name]).taps
        largest += taps[layer.name][:, channel].flatten(1).amax(dim=1).tolist()
    assert module.explainer.median_maxima[relevant[0]] == pytest.approx(sorted(largest)[10], rel=1e-5)


def test_multi_hot_labels() -> None:
    x, labels = fakes.random_samples()
    hot = label_matrix(labels, 6)
    hot[::4, 0] = 1
    hot[1] = 0
    batches = [
        Batch(features=a, logits=a[:, :6], label=b, key=[""] * len(b))
        for a, b in zip(x.split(70), hot.split(70), strict=True)
    ]
    module, expected = fakes.make_module(), fakes.make_module()
    fakes.fit(module, batches)
    fit = MuLassoFit(expected.explainer, 300)
    fit.update(x, hot)
    fit.finish()
    assert_same_heads(head_of(module), head_of(expected), atol=1e-5)


def test_a_test_measures_the_reconstruction_and_no_faithfulness(flower_shards: Path, tmp_path: Path) -> None:
    """There is no estimate of logits to compare with them."""
    module, data = fakes.make_module(), fakes.make_data(flower_shards, tmp_path)
    fakes.fit(module, data)
    trainer = pl.Trainer(**fakes.QUIET)
    (figures,) = trainer.test(module, datamodule=data, verbose=False)
    assert not [name for name in figures if name.startswith(("test/f_reg", "test/f_cls"))]
    assert {
        "test/reconstruction_auc",
        "test/reconstruction_auc/skipped_classes",
        "test/iou",
        "test/pointing_game",
    } <= set(figures)
    scores, labels = [], []
    for batch in data.test_dataloader():
        scores.append(module.explainer.class_scores(module.explainer.responses(batch["image"])["features"]))
        labels.append(batch["label"])
    from sklearn.metrics import roc_auc_score

    expected = roc_auc_score(label_matrix(torch.cat(labels), 6), torch.cat(scores).detach(), average="macro")
    assert figures["test/reconstruction_auc"] == pytest.approx(expected, abs=1e-6)


def test_the_backbone_stays_behind_glass(flower_shards: Path, tmp_path: Path) -> None:
    for solver in ("exact", "sgd"):
        module = fakes.make_module(solver=solver)
        digest = module.explainer.backbone.digest
        fakes.fit(module, fakes.make_data(flower_shards, tmp_path), max_epochs=2)
        assert weight_digest(module.explainer.backbone.model.state_dict()) == digest
        assert not any(part.training for part in module.explainer.backbone.model.modules())


# By steps


class Norms(pl.Callback):
    """Keeps the largest ‖w_j‖₁ at the start and after every step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def look(self, pl_module: Any) -> None:
        self.seen.append(float(pl_module.explainer.weights.detach().abs().sum(dim=0).max()))

    def on_train_epoch_start(self, _: pl.Trainer, pl_module: Any) -> None:
        self.look(pl_module)

    def on_train_batch_end(self, _: pl.Trainer, pl_module: Any, *_more: Any) -> None:
        self.look(pl_module)


@pytest.mark.parametrize("size", [300, 75, 40])
@pytest.mark.parametrize(
    ("scaling", "mu", "correlated", "schedule"),
    [("standardized", 0.4, False, CosineToZero), ("unit", 4.0, False, None), ("standardized", 0.4, True, None),
     ("paper", 2.0, True, CosineToZero)],
)  # fmt: skip
def test_steps_select_the_filters_of_the_exact_optimum(
    scaling: str, mu: float, size: int, *, correlated: bool, schedule: Any
) -> None:
    """In a few epochs, also where the condition number of the responses is 10⁶."""
    exact, steps = (
        fakes.make_module(scaling=scaling, mu=mu, solver=solver, lr_scheduler=schedule) for solver in ("exact", "sgd")
    )
    fakes.fit(exact, fakes.make_batches(correlated=correlated))
    norms = Norms()
    trainer = fakes.fit(steps, fakes.make_batches(size=size, correlated=correlated), max_epochs=100, callbacks=[norms])
    samples = fakes.random_samples(correlated=correlated)
    assert trainer.current_epoch <= 6
    assert torch.equal(steps.explainer.weights != 0, exact.explainer.weights != 0)
    assert 0 < float((steps.explainer.weights != 0).double().mean()) < 0.5
    assert objective(steps, samples) == pytest.approx(objective(exact, samples), rel=1e-5)
    assert objective(steps, samples) < 0.95 * objective(fakes.make_module(), samples)
    assert trainer.callback_metrics["train/relative_gap"] <= 1e-6
    assert steps.metadata()["largest_relative_gap"] <= 1e-6
    assert max(norms.seen) == pytest.approx(mu, rel=1e-5)
    assert max(norms.seen) <= mu * (1 + 1e-5)
    assert_same_heads(head_of(steps), head_of(exact), atol=1e-5)


@pytest.mark.parametrize("schedule", [None, CosineToZero])
def test_the_size_of_a_step_follows_that_of_the_responses(schedule: Any) -> None:
    """The same learning rate serves responses of any size: ‖(sX)ᵀ(W/s) − Lᵀ‖ is ‖XᵀW − Lᵀ‖."""
    weights = []
    for size in (1.0, 1 / 1024):
        module = fakes.make_module(scaling="paper", solver="sgd", mu=2 / size, lr_scheduler=schedule)
        batches = fakes.make_batches(size=100)
        for batch in batches:
            batch["features"] = batch["features"] * size
        fakes.fit(module, batches, max_epochs=4)
        weights.append(module.explainer.weights.detach() * size)
    torch.testing.assert_close(weights[1], weights[0], rtol=1e-4, atol=1e-6)
    assert weights[0].any()


def test_variance_reduced_steps_alone_come_near_the_optimum() -> None:
    """At a constant rate, at which plain mini-batch steps stay a percent above it."""
    exact = fakes.make_module(mu=0.4)
    steps = fakes.make_module(mu=0.4, solver="sgd", working_set=0, lr=0.2, momentum=0.9, lr_scheduler=None)
    fakes.fit(exact, fakes.make_batches())
    trainer = fakes.fit(steps, fakes.make_batches(size=75), max_epochs=40)
    samples = fakes.random_samples()
    assert objective(steps, samples) == pytest.approx(objective(exact, samples), rel=1e-4)
    logged = float(trainer.callback_metrics["train/squared_error"])
    assert logged == pytest.approx(objective(steps, samples) / 300, rel=1e-2)


@pytest.mark.parametrize("kept", [True, False])
def test_the_scaling_of_steps_is_that_of_the_exact_fit(flower_shards: Path, tmp_path: Path, *, kept: bool) -> None:
    for scaling in ("paper", "width", "unit", "standardized"):
        heads = []
        for solver in ("exact", "sgd"):
            module = fakes.make_module(solver=solver, scaling=scaling)
            data = fakes.make_data(flower_shards, tmp_path, cache=kept)
            fakes.fit(module, data, max_epochs=1)
            heads.append({name: value for name, value in head_of(module).items() if name != "weights"})
        assert_same_heads(heads[1], heads[0])


class KeepAll(Checkpoint):
    """A checkpoint after every step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kept: list[Path] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.kept.append(self.folder / f"{trainer.global_step}.ckpt")
        trainer.save_checkpoint(self.kept[-1])


def test_what_does_not_fit_is_refused_before_the_pass(
    flower_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitrine.explainers.mu_lasso.fit_plan.free_bytes", lambda _: 1000)
    with pytest.raises(ValueError, match=r"exact fit of 88 filters needs .* a rank, and 1 kB are free"):
        fakes.fit(fakes.make_module(), fakes.make_data(flower_shards, tmp_path))


@pytest.mark.parametrize(
    ("kept", "working_set", "steps"), [(True, 4096, 9), (False, 4096, 9), (True, 9, 12), (True, 0, 12)]
)
def test_a_resumed_run_equals_one_that_was_never_stopped(
    flower_shards: Path, tmp_path: Path, working_set: int, steps: int, *, kept: bool
) -> None:
    """With the sums of an epoch that was stopped within; a working set that is too small ends with the last epoch."""
    options = {"cache": kept, "batch_size": 8, "shuffle_buffer": 5}
    keep = KeepAll(tmp_path)
    whole = fakes.make_module(solver="sgd", working_set=working_set)
    fakes.fit(
        whole, fakes.make_data(flower_shards, tmp_path / "features", **options), max_epochs=4, callbacks=[keep],
        enable_checkpointing=True,
    )  # fmt: skip
    assert len(keep.kept) == steps
    for path in keep.kept[:-1:2]:
        resumed: Any = fakes.make_module(solver="sgd", working_set=working_set)
        resumed._learn_scaling = lambda: pytest.fail("the scaling was learned again")
        data = fakes.make_data(flower_shards, tmp_path / "features", **options)
        fakes.fit(resumed, data, ckpt_path=path, max_epochs=4)
        assert_same_heads(head_of(resumed), head_of(whole), atol=0)
        assert resumed.curvature == whole.curvature


def test_a_fit_that_goes_on_in_a_smaller_ball_reaches_its_optimum(tmp_path: Path) -> None:
    """The sums of the epoch, taken at weights outside of it, are left out."""
    keep = KeepAll(tmp_path)
    fakes.fit(
        fakes.make_module(solver="sgd", mu=0.4), fakes.make_batches(size=75), max_epochs=2, callbacks=[keep],
        enable_checkpointing=True,
    )  # fmt: skip
    smaller, exact = fakes.make_module(solver="sgd", mu=0.1), fakes.make_module(mu=0.1)
    fakes.fit(smaller, fakes.make_batches(size=75), ckpt_path=keep.kept[5], max_epochs=20)
    fakes.fit(exact, fakes.make_batches())
    assert torch.equal(smaller.explainer.weights != 0, exact.explainer.weights != 0)
    assert_same_heads(head_of(smaller), head_of(exact), atol=1e-5)


# Fine-tuning


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    module = fakes.make_module()
    fakes.fit(module, fakes.make_batches())
    module.explainer.classes = [f"class {index}" for index in range(6)]
    module.explainer.save(tmp_path / "explainer")
    return tmp_path / "explainer"


class Starts(pl.Callback):
    """Keeps the head that the first step starts from."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.current_epoch == 0:
            self.head = head_of(pl_module)


def test_fine_tuning_starts_from_the_weights_and_keeps_the_scaling(exported: Path) -> None:
    source = fakes.make_module()
    fakes.fit(source, fakes.make_batches())
    other = fakes.make_batches(seed=1)
    tuned, starts = fakes.make_module(solver="sgd", init_from=exported), Starts()
    fakes.fit(tuned, other, max_epochs=3, callbacks=[starts], default_root_dir=exported.parent)
    assert_same_heads(starts.head, head_of(source))
    assert tuned.explainer.classes == [f"class {index}" for index in range(6)]
    for name in ("scaling.shift", "scaling.factor", "intercept"):
        assert torch.equal(head_of(tuned)[name], head_of(source)[name])
    samples = fakes.random_samples(seed=1)
    assert objective(tuned, samples) < objective(source, samples)
    assert not torch.equal(tuned.explainer.weights, source.explainer.weights)


def test_fine_tuning_in_a_smaller_ball_starts_within_it(exported: Path) -> None:
    tuned, norms = fakes.make_module(solver="sgd", init_from=exported, mu=0.1), Norms()
    fakes.fit(tuned, fakes.make_batches(), max_epochs=3, callbacks=[norms], default_root_dir=exported.parent)
    assert max(norms.seen) <= 0.1 * (1 + 1e-5)


def test_an_exported_explainer_needs_no_fit_to_be_tested(exported: Path, flower_shards: Path, tmp_path: Path) -> None:
    module, data = fakes.make_module(init_from=exported), fakes.make_data(flower_shards, tmp_path)
    assert not module.needs_checkpoint
    (figures,) = pl.Trainer(**fakes.QUIET).test(module, datamodule=data, verbose=False)
    assert "test/reconstruction_auc" in figures


# Refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.0}, "optimizer.init_args.lr is 0.0; give a number above 0"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"tol": -1.0}, "tol is -1.0"),
        ({"lr": 1.0, "momentum": 1.0}, "optimizer.init_args.momentum is 1.0; give 0 or more and below 1"),
        ({"lr": 1.0, "momentum": -0.1}, "momentum is -0.1; give"),
        ({"mu": 0.0}, "mu is 0.0"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fakes.make_module(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scaling": "unit"}, "explainer was fitted with scaling standardized; set model.init_args.mu_lasso.scaling"),
        ({"norm": "squared"}, "was fitted with norm l2"),
        ({"layers": ["features.0"]}, "saved heads do not fit"),
    ],
)
def test_weights_of_other_responses_are_refused(exported: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fakes.make_module(init_from=exported, solver="sgd", **options)


def test_exact_takes_neither_augmented_images_nor_weights_to_go_on_from(
    flower_shards: Path, exported: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        ValueError,
        match=r"set data\.init_args\.loading\.augment: false, or take model\.init_args\.training\.solver: sgd",
    ):
        fakes.fit(fakes.make_module(), fakes.make_data(flower_shards, tmp_path, augment=True))
    with pytest.raises(ValueError, match=r"does not go on from the weights of model\.init_args\.init_from"):
        fakes.fit(fakes.make_module(init_from=exported), fakes.make_data(flower_shards, tmp_path))
    fakes.fit(fakes.make_module(solver="sgd"), fakes.make_data(flower_shards, tmp_path, augment=True), max_epochs=1)


def test_a_data_set_of_more_classes_is_refused_before_anything_is_computed(flower_shards: Path, tmp_path: Path) -> None:
    from vitrine.backbones.networks import BackboneOptions

    backbone = BackboneOptions(fakes.FLOWER_NET, num_classes=5, arguments={"width": 4})
    module = MuLassoModule(backbone, MuLassoOptions(image_size=64))
    with pytest.raises(ValueError, match="set has 6 classes, but the backbone has 5 logits"):
        fakes.fit(module, fakes.make_data(flower_shards, tmp_path / "features"))
    assert not (tmp_path / "features").exists()


# The curvature


@pytest.mark.parametrize("shape", [(40, 12), (12, 40), (300, 88), (1, 5)])
@pytest.mark.parametrize("centred", [False, True])
def test_the_curvature_is_the_largest_eigenvalue(shape: tuple[int, int], *, centred: bool) -> None:
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    if centred:  # as responses of one layer, which add up to a constant
        x = x - x.mean(dim=1, keepdim=True)
    expected = torch.linalg.eigvalsh(2 / len(x) * x.T @ x)[-1]
    found = largest_curvature(x)
    assert 0.95 * expected <= found <= expected * (1 + 1e-9)
    torch.testing.assert_close(largest_curvature(x, iterations=2000), expected, rtol=1e-4, atol=0)


def test_the_curvature_of_nothing_is_one() -> None:
    assert largest_curvature(torch.zeros(4, 3)) == 1
    tiny = torch.full((4, 3), 1e-15)
    assert largest_curvature(tiny) == pytest.approx(2 * 3e-30, rel=1e-3)


# Two ranks


@pytest.fixture(scope="module")
def found(ranks: RankPool, flower_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What one process and two processes found."""
    one, two = (tmp_path_factory.mktemp(name) for name in ("one_process", "two_processes"))
    return [fakes.fits(0, flower_shards, one, 1), ranks.run(fakes.fits, flower_shards, two, 2, folder=two)[0]]


@pytest.mark.parametrize("run", ["exact standardized", "exact unit", "sgd standardized", "sgd unit"])
def test_two_ranks_equal_one(found: list[dict[str, Any]], run: str) -> None:
    """With shares that are not equal; streamed or kept, from sums or from rows."""
    (one, figures_one, epochs), (two, figures_two, epochs_of_two) = (results[run] for results in found)
    assert epochs == epochs_of_two == (1 if "exact" in run else 3)
    assert_same_heads(two, one, atol=1e-5)
    assert one["weights"].any()
    assert figures_two == pytest.approx(figures_one, rel=1e-4, abs=1e-6, nan_ok=True)
    assert {"train/filters", "test/reconstruction_auc", "val/reconstruction_auc/skipped_classes"} <= set(figures_one)
