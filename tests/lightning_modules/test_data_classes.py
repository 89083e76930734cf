"""Data sets whose classes are some of the network's, in another order: what is fitted is the same as in the network's own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import save_file

from datamodules import ShardDataModule
from lightning_modules import ClassifierModule, InversionModule, MuLassoModule, SRAEModule
from lightning_modules.data_classes import check_classes, check_explained, check_same_classes, translation_of
from lightning_modules.selected_features import SelectedFeaturesModule
from tests.helpers import shard_fakes
from tests.helpers.flat_options import make_flat
from tests.helpers.own_network import OwnNetwork
from vitrine.backbones.networks import BackboneOptions
from vitrine.data.class_matching import ClassMatch
from vitrine.data.shards.sample import Sample
from vitrine.data.shards.writer import write_shards

OWN = "tests.helpers.own_network:OwnNetwork"
NETWORK = ("cat", "bee", "ant", "dog")
"""Classes of the network; those of the set are named without dog."""
OWN_ORDER, OTHER_ORDER = ("cat", "bee", "ant"), ("ant", "bee", "cat")
SRAE: dict[str, Any] = {
    "layer": "conv",
    "num_features": 2,
    "hidden": (4,),
    "image_size": 8,
    "positive_weight": "balanced",
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> BackboneOptions:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("network") / "classifier.safetensors"
    metadata = {"classes": "\n".join(NETWORK), "num_classes": str(len(NETWORK))}
    save_file(OwnNetwork(len(NETWORK)).state_dict(), path, metadata=metadata)
    return BackboneOptions("tests.helpers.own_network:OwnNetwork", str(path))


def write_set(folder: Path, classes: Sequence[str], *, multi_label: bool = False) -> Path:
    """The same images of the same classes, whatever number a class has."""
    for split, count in {"train": 24, "test": 9}.items():
        samples = []
        for number, path in enumerate(shard_fakes.write_images(folder / f"{split}_images", count)):
            names = [OWN_ORDER[number * number % 3]] + ([OWN_ORDER[number % 3]] if multi_label else [])
            labels = sorted({classes.index(name) for name in names})
            samples.append(Sample(f"{split}_{number:03d}", path, labels if multi_label else labels[0]))
        facts: dict[str, Any] = {"dataset": "tiny", "split": split, "classes": classes, "annotations": ()}
        write_shards(samples, folder / split, **facts, multi_label=multi_label, shard_size=10, workers=0)
    return folder


@pytest.fixture(scope="module", params=[False, True], ids=["one label", "several labels"])
def sets(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same set with the network's order of classes, and with another."""
    folder = tmp_path_factory.mktemp("sets")
    return tuple(  # type: ignore[return-value]
        write_set(folder / name / "set", order, multi_label=request.param)
        for name, order in {"own": OWN_ORDER, "other": OTHER_ORDER}.items()
    )


def fitted(module: Any, data: ShardDataModule, folder: Path) -> pl.Trainer:
    trainer = pl.Trainer(max_epochs=2, **{**shard_fakes.QUIET, "default_root_dir": folder})
    trainer.fit(module, datamodule=data)
    return trainer


def make(kind: type[Any], weights: BackboneOptions, **options: Any) -> Any:
    torch.manual_seed(1)
    return make_flat(kind, weights, **options)


@pytest.mark.parametrize("cache", [True, False])
def test_heads_by_name_are_those_of_the_networks_own_order(
    sets: tuple[Path, Path], weights: BackboneOptions, tmp_path: Path, *, cache: bool
) -> None:
    own = make(SRAEModule, weights, **SRAE, explained_classes=[0, 1, 2])
    fitted(own, shard_fakes.module_of(sets[0], cache=cache, folder=tmp_path / "a"), tmp_path)
    by_name = make(SRAEModule, weights, **SRAE, explained_classes="by_name")
    data = shard_fakes.module_of(sets[1], cache=cache, folder=tmp_path / "b")
    trainer = fitted(by_name, data, tmp_path)
    assert list(by_name.explainer.explained_classes) == [0, 1, 2]
    assert by_name.explainer.classes == list(NETWORK)
    assert by_name.training_data.class_counts == [*own.training_data.class_counts[:3], 0]
    for name, value in own.explainer.head_state().items():
        assert torch.equal(value, by_name.explainer.head_state()[name]), name
    trainer.save_checkpoint(tmp_path / "a.ckpt", weights_only=False)
    fresh = make(SRAEModule, weights, **SRAE, explained_classes="by_name")
    tester = pl.Trainer(**shard_fakes.QUIET)
    (figures,) = tester.test(fresh, datamodule=data, ckpt_path=tmp_path / "a.ckpt", verbose=False, weights_only=False)
    (expected,) = tester.test(own, datamodule=shard_fakes.module_of(sets[0], folder=tmp_path / "a"), verbose=False)
    assert figures == pytest.approx(expected, rel=0, abs=0, nan_ok=True)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (MuLassoModule, {"num_heatmaps": 2, "image_size": 8, "scaling": "standardized"}),
        (MuLassoModule, {"num_heatmaps": 2, "image_size": 8, "scaling": "standardized", "solver": "sgd"}),
        (SelectedFeaturesModule, {"layer": "conv", "num_features": 2, "image_size": 8, "explained_classes": [0, 2]}),
    ],
    ids=["exact", "sgd", "selected"],
)
def test_labels_by_name_fit_the_same(
    kind: type[Any], options: dict[str, Any], sets: tuple[Path, Path], weights: BackboneOptions, tmp_path: Path
) -> None:
    states = []
    for name, shards in zip(("own", "other"), sets, strict=True):
        module = make(kind, weights, **options, class_map="by_name")
        fitted(module, shard_fakes.module_of(shards, folder=tmp_path / name), tmp_path)
        states.append(module.explainer.head_state())
    assert any(value.float().any() for value in states[0].values())
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=0, atol=0, msg=name)


def test_inversion_explains_labels_by_name(sets: tuple[Path, Path], weights: BackboneOptions, tmp_path: Path) -> None:
    short = {"explain": "label", "inversion_steps": 1, "class_steps": 1, "image_size": 8}
    figures = []
    for shards in sets:
        module = make(
            InversionModule, weights, **short, inversion_layer="relu", mask_layers=["conv"], class_map="by_name"
        )
        data = shard_fakes.module_of(shards, folder=tmp_path / "features")
        figures += pl.Trainer(**shard_fakes.QUIET).test(module, datamodule=data, verbose=False)
    assert figures[0] == figures[1]


def test_positives_and_negatives_are_drawn_of_the_classes_that_are_explained(
    weights: BackboneOptions, tmp_path: Path
) -> None:
    shards = write_set(tmp_path / "set", OTHER_ORDER)
    data = shard_fakes.module_of(shards, positives_per_class=2, negatives_per_class=100, val_fraction=0.0)
    module = make(SRAEModule, weights, **SRAE, explained_classes="by_name")
    fitted(module, data, tmp_path)
    counts = {name: sum(OWN_ORDER[n * n % 3] == name for n in range(24)) for name in OWN_ORDER}
    drawn = data.sample_counts()
    assert drawn is not None
    assert drawn.tolist() == [[min(counts[name], 2), 24 - counts[name]] for name in OWN_ORDER]


@pytest.mark.parametrize("kind", [SRAEModule, MuLassoModule, InversionModule])
@pytest.mark.parametrize("stage", ["fit", "test"])
def test_classes_in_another_order_stop_before_features_are_computed(
    kind: type[Any], stage: str, weights: BackboneOptions, tmp_path: Path
) -> None:
    data = shard_fakes.module_of(write_set(tmp_path / "set", OTHER_ORDER))
    options = SRAE if kind is SRAEModule else {"image_size": 8}
    if kind is InversionModule:
        options = options | {"predictor": 4, "inversion_layer": "relu", "mask_layers": ["conv"]}
    module = make(kind, weights, **options)
    remedy = r"srae\.explained_classes: by_name" if kind is SRAEModule else "class_map: by_name"
    with pytest.raises(
        ValueError, match=rf"'ant' is label 0, and class 2 of the backbone; set model\.init_args\.{remedy}"
    ):
        getattr(pl.Trainer(**shard_fakes.QUIET), stage)(module, datamodule=data)
    assert not (tmp_path / "features").exists()


def test_left_out_labels_do_for_a_test_and_not_for_a_fit(weights: BackboneOptions, tmp_path: Path) -> None:
    data = shard_fakes.module_of(write_set(tmp_path / "set", OTHER_ORDER))
    module = make(SRAEModule, weights, **SRAE, class_map="ignore")
    seen: list[tuple[int, ...]] = []

    def noted(batch: Any) -> Any:
        seen.append(tuple(batch["label"].shape))
        return SRAEModule.explanation_of(module, batch)

    module.explanation_of = noted
    pl.Trainer(**shard_fakes.QUIET).test(module, datamodule=data, verbose=False)
    assert {shape[1:] for shape in seen} == {(0,)}
    with pytest.raises(ValueError, match=r"class 0 is to be explained, but the data set has 0 classes"):
        pl.Trainer(**shard_fakes.QUIET).fit(module, datamodule=data)


def test_other_names_tell_of_leaving_labels_out_where_none_are_needed(weights: BackboneOptions, tmp_path: Path) -> None:
    data = shard_fakes.module_of(write_set(tmp_path / "set", ("cat", "bee", "ant", "wolf")))
    with pytest.raises(ValueError, match=r"'wolf' is none of .*; class_map: ignore leaves the labels out"):
        pl.Trainer(**shard_fakes.QUIET).test(make(SRAEModule, weights, **SRAE), datamodule=data)


def test_heads_by_name_come_back_from_an_exported_explainer(weights: BackboneOptions, tmp_path: Path) -> None:
    data = shard_fakes.module_of(write_set(tmp_path / "set", OTHER_ORDER))
    module = make(SRAEModule, weights, **SRAE, explained_classes="by_name")
    fitted(module, data, tmp_path)
    module.export(tmp_path)
    again = make(SRAEModule, weights, **SRAE, explained_classes="by_name", init_from=tmp_path / "explainer")
    assert list(again.explainer.explained_classes) == [0, 1, 2]
    for name, value in module.explainer.head_state().items():
        assert torch.equal(again.explainer.head_state()[name], value)


def test_heads_by_name_need_a_data_set(weights: BackboneOptions) -> None:
    module = make(SRAEModule, weights, **SRAE, explained_classes="by_name")
    with pytest.raises(ValueError, match="by_name has no heads before a data set is given"):
        module.explainer.explain(torch.rand(1, 3, 8, 8))
    with pytest.raises(ValueError, match="need a datamodule"):
        pl.Trainer(max_epochs=1, **shard_fakes.QUIET).fit(module, [])


def test_a_class_without_images_has_no_head_to_fit() -> None:
    check_explained([3, 1], ClassMatch((3, 1), (), ""), 2)
    check_explained([0, 5], None, 6)
    check_explained([], None, 0)
    with pytest.raises(ValueError, match="class 2 is to be explained, but the data set has 2 classes"):
        check_explained([3, 2], ClassMatch((3, 1), (), ""), 2)
    with pytest.raises(ValueError, match="class 6 is to be explained, but the data set has 6 classes"):
        check_explained([0, 6], None, 6)


def test_a_datamodule_that_takes_the_hook_is_refused(tmp_path: Path) -> None:
    class Own(ShardDataModule):
        def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return batch, dataloader_idx

    shards = write_set(tmp_path / "set", OTHER_ORDER)
    data = Own(shards)
    data.setup("fit")
    assert translation_of(data, ClassMatch((0, 1, 2), (), ""), 4) is None
    with pytest.raises(ValueError, match=r"Own\.on_before_batch_transfer takes the place"):
        translation_of(data, ClassMatch((2, 1, 0), (), ""), 4)


@pytest.mark.parametrize("classes", [["cat", "bee"], ["bee", "cat", "ant", "dog"], ["cat", "bee", "ant", "wolf"]])
def test_a_classifier_is_not_tested_on_other_classes_than_its_weights(
    classes: list[str], weights: BackboneOptions
) -> None:
    network = OwnNetwork(4)
    check_classes(NETWORK, weights, network)
    with pytest.raises(ValueError, match=r"; fit the classifier to this data set, or give --ckpt_path"):
        check_classes(classes, weights, network)


@pytest.mark.parametrize(
    ("saved", "classes", "told"),
    [
        (["blue", "green", "red"], ["a_red", "blue", "green"], "its class 0 is 'blue', and 'a_red' is label 0"),
        (["blue", "green"], ["green", "blue"], "its class 0 is 'blue', and 'green' is label 0"),
        (["blue", "green"], ["blue", "green", "red"], "it is of 2 classes, and the data set of 3"),
        (["blue", "green", "red"], ["blue", "green"], "it is of 3 classes, and the data set of 2"),
    ],
)
def test_a_checkpoint_of_other_classes_is_refused(saved: list[str], classes: list[str], told: str) -> None:
    check_same_classes(saved, [name.upper() for name in saved], "a.ckpt")
    check_same_classes([], classes, "a.ckpt")
    check_same_classes(saved, [], "a.ckpt")
    with pytest.raises(ValueError, match=rf"a\.ckpt was trained on other classes: {told}"):
        check_same_classes(saved, classes, "a.ckpt")


def test_what_a_fit_has_learned_is_of_the_names_that_it_saw(tmp_path: Path) -> None:
    """Where the network's weights record no names, a checkpoint does."""
    orders = {"own": OWN_ORDER, "other": OTHER_ORDER}
    own, other = (shard_fakes.module_of(write_set(tmp_path / name, order)) for name, order in orders.items())
    last = tmp_path / "last.ckpt"

    def made(kind: type[Any], options: dict[str, Any]) -> pl.LightningModule:
        torch.manual_seed(0)
        module: pl.LightningModule = make_flat(kind, BackboneOptions(OWN), **options)
        return module

    for kind, options in ((SRAEModule, SRAE), (ClassifierModule, {})):
        trainer = pl.Trainer(**shard_fakes.QUIET, max_epochs=1, default_root_dir=tmp_path / "run")
        trainer.fit(made(kind, options), datamodule=own)
        trainer.save_checkpoint(last)
        for stage in ("validate", "test"):
            run = getattr(pl.Trainer(**shard_fakes.QUIET), stage)
            run(made(kind, options), datamodule=own, ckpt_path=last)
            module = made(kind, options)
            with pytest.raises(ValueError, match=r"last\.ckpt was trained on other classes: its class 0 is 'cat'"):
                run(module, datamodule=other, ckpt_path=last)
