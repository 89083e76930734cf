"""Fine-tuning on other classes: fits that begin from the heads of an exported explainer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import yaml
from safetensors.torch import save_file

from lightning_modules import InversionModule, MaskingModule, MuLassoModule, SRAEModule
from lightning_modules.inherited_heads import TABLE_NAME
from tests.helpers import shard_fakes
from tests.helpers.flat_options import make_flat
from tests.helpers.own_network import OwnNetwork
from vitrine.backbones.networks import BackboneOptions
from vitrine.data.shards.sample import Sample
from vitrine.data.shards.writer import write_shards
from vitrine.explainers.config_file import read_heads
from vitrine.explainers.saving import BACKBONE_NAME

BEFORE, AFTER = ("ant", "Bumble_bee", "cat"), ("dog", "bumble bee", "eel", "ant")
OPTIONS: dict[type[Any], dict[str, Any]] = {
    SRAEModule: {"layer": "conv", "num_features": 2, "hidden": (4,), "image_size": 8},
    MuLassoModule: {
        "layers": ["conv"], "num_heatmaps": 2, "image_size": 8, "solver": "sgd", "scaling": "standardized",
    },
    MaskingModule: {"mask_layers": ["relu"], "width": 4, "image_size": 8},
    InversionModule: {"predictor": 3, "image_size": 8, "inversion_layer": "relu", "mask_layers": ["relu"]},
}  # fmt: skip


def network(folder: Path, classes: Sequence[str], *, seed: int = 0, recorded: bool = True) -> BackboneOptions:
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "classifier.safetensors"
    metadata = {"classes": "\n".join(classes), "num_classes": str(len(classes))} if recorded else None
    save_file(OwnNetwork(len(classes)).state_dict(), path, metadata=metadata)
    return BackboneOptions("tests.helpers.own_network:OwnNetwork", str(path))


def write_set(folder: Path, classes: Sequence[str]) -> Path:
    images = shard_fakes.write_images(folder / "images", 12)
    samples = [Sample(f"train_{number}", path, number % len(classes)) for number, path in enumerate(images)]
    facts: dict[str, Any] = {"dataset": "tiny", "split": "train", "classes": classes, "annotations": ()}
    write_shards(samples, folder / "train", **facts, shard_size=10, workers=0)
    return folder


class Run:
    """A network, a data set and a folder of some classes."""

    def __init__(self, folder: Path, classes: Sequence[str], **options: Any) -> None:
        self.folder, self.backbone = folder, network(folder, classes, **options)
        self.shards = write_set(folder / "set", classes)

    def module(self, kind: type[Any], **options: Any) -> Any:
        torch.manual_seed(1)
        return make_flat(kind, self.backbone, **{**OPTIONS[kind], **options})

    def fit(self, module: Any, *callbacks: pl.Callback, epochs: int = 1, ckpt_path: Path | None = None) -> pl.Trainer:
        settings = {**shard_fakes.QUIET, "default_root_dir": self.folder, "inference_mode": False}
        trainer = pl.Trainer(max_epochs=epochs, callbacks=list(callbacks), **settings)
        data = shard_fakes.module_of(self.shards, folder=self.folder / "cache")
        trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=False)
        return trainer


class AtStart(pl.Callback):
    """Heads as the first step finds them."""

    state: dict[str, torch.Tensor]

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:  # noqa: ARG002
        self.state = {name: value.clone() for name, value in pl_module.explainer.head_state().items()}


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Exported explainers of each kind in folders of its name, of a network with three classes."""
    run = Run(tmp_path_factory.mktemp("before"), BEFORE)
    for kind in OPTIONS:
        module = run.module(kind)
        run.fit(module)
        module.export(run.folder / kind.__name__)
    return run


def exported(run: Run, kind: type[Any]) -> Path:
    return run.folder / kind.__name__ / "explainer"


@pytest.fixture(scope="module")
def after(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A network with four classes, two of them among the three."""
    return Run(tmp_path_factory.mktemp("after"), AFTER, seed=2)


def test_heads_are_kept_by_name(before: Run, after: Run, capsys: pytest.CaptureFixture[str]) -> None:
    module, start = after.module(SRAEModule, init_from=exported(before, SRAEModule)), AtStart()
    after.fit(module, start)
    saved, drawn = before.module(SRAEModule), after.module(SRAEModule)
    saved.explainer.load_head_state(read_heads(exported(before, SRAEModule)))
    for row, place in ((1, 1), (3, 0)):
        for name, value in saved.heads[place].state_dict().items():
            assert torch.equal(start.state[f"heads.{row}.{name}"], value)
    assert not any(torch.equal(start.state["heads.0.encoder.0.weight"], head.encoder[0].weight) for head in saved.heads)
    assert drawn.heads[0].encoder[0].weight.shape == start.state["heads.0.encoder.0.weight"].shape
    assert module.metadata()["init_from"] | {"folder": ""} == {"folder": "", "kept": 2, "new": 2, "dropped": 1}
    told = capsys.readouterr().out
    for part in (
        "kept",
        "bumble bee, ant",
        "drawn anew",
        "dog, eel",
        "dropped",
        "cat",
        "features that heads read moved by",
    ):
        assert part in told, told
    lines = (after.folder / TABLE_NAME).read_text(encoding="utf-8").splitlines()
    assert lines[:3] == ["heads,class,from", "new,dog,", "kept,bumble bee,Bumble_bee"]


@pytest.mark.parametrize("kind", [MuLassoModule, MaskingModule, InversionModule])
def test_other_explainers_go_on_too(kind: type[Any], before: Run, after: Run) -> None:
    saved = read_heads(exported(before, kind))
    module, start = after.module(kind, init_from=exported(before, kind)), AtStart()
    after.fit(module, start)
    if kind is MuLassoModule:
        assert torch.equal(start.state["weights"][:, [1, 3]], saved["weights"][:, [1, 0]])
        assert not start.state["weights"][:, [0, 2]].any()
        assert torch.equal(start.state["scaling.shift"], saved["scaling.shift"])
        intercept = module.explainer.intercept  # the classes' shares in the new set
        assert intercept.sum().item() == pytest.approx(1)
        assert ((intercept > 0.1) & (intercept < 0.4)).all()
    for name, value in saved.items():
        if name not in module.explainer.class_axes:
            assert torch.equal(start.state[name], value), name


def test_a_shared_trunk_carries_over(before: Run, after: Run, tmp_path: Path) -> None:
    shared = before.module(SRAEModule, trunk="shared")
    shared.explainer.classes = list(BEFORE)
    shared.explainer.save(tmp_path / "shared")
    module, start = after.module(SRAEModule, trunk="shared", init_from=tmp_path / "shared"), AtStart()
    after.fit(module, start)
    saved = shared.explainer.head_state()
    assert torch.equal(start.state["heads.encoder.0.weight"], saved["heads.encoder.0.weight"])
    assert torch.equal(start.state["heads.predictor"][[1, 3]], saved["heads.predictor"][[1, 0]])


def test_equally_many_other_classes_get_heads_of_their_own(before: Run, tmp_path: Path) -> None:
    """Whose numbers would fit: birds' heads become no fish's."""
    fish = Run(tmp_path, ("trout", "ant", "pike"), seed=3)
    module = fish.module(SRAEModule, init_from=exported(before, SRAEModule))
    fish.fit(module)
    assert module.inherited.inheritance.rows == (None, 0, None)


def test_the_very_same_network_is_matched_by_its_logits(before: Run) -> None:
    module, start = before.module(SRAEModule, init_from=exported(before, SRAEModule)), AtStart()
    before.fit(module, start)
    assert module.inherited.inheritance.is_identity
    for name, value in read_heads(exported(before, SRAEModule)).items():
        assert torch.equal(start.state[name], value)
    fewer = before.module(SRAEModule, explained_classes=[2, 0], init_from=exported(before, SRAEModule))
    before.fit(fewer)
    assert fewer.inherited.inheritance.rows == (2, 0)


def test_names_of_kept_classes_carry_over(before: Run, after: Run, tmp_path: Path) -> None:
    explainer = before.module(SRAEModule).explainer
    explainer.classes = list(BEFORE)
    explainer.heatmap_names = {"ant": ["feeler", ""], "Bumble_bee": ["", "stripes"], "cat": ["whiskers", "paw"]}
    explainer.save(tmp_path / "named")
    module = after.module(SRAEModule, init_from=tmp_path / "named")
    after.fit(module)
    module.export(tmp_path)
    written = yaml.safe_load((tmp_path / "explainer" / "names.yaml").read_text(encoding="utf-8"))
    assert written == {"dog": ["", ""], "bumble bee": ["", "stripes"], "eel": ["", ""], "ant": ["feeler", ""]}


def test_names_that_are_not_known(before: Run, after: Run, tmp_path: Path) -> None:
    explainer = before.module(SRAEModule).explainer  # which nobody has told of names
    explainer.save(tmp_path / "nameless")
    with pytest.raises(ValueError, match=r"init_from .*nameless: its classes have no names .*init_from_map"):
        after.fit(after.module(SRAEModule, init_from=tmp_path / "nameless"))
    for head_map, rows in (("by_index", (0, 1, 2, None)), ({"dog": 2, "eel": None, "ant": 0, "1": 1}, (2, 1, None, 0))):
        module = after.module(SRAEModule, init_from=tmp_path / "nameless", init_from_map=head_map)
        after.fit(module)
        assert module.inherited.inheritance.rows == rows
    with pytest.raises(ValueError, match="init_from_map needs init_from"):
        after.module(SRAEModule, init_from_map="by_index")


def test_features_that_cannot_be_measured(
    before: Run, after: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = exported(before, SRAEModule)
    copy = tmp_path / "explainer"
    copy.mkdir()
    for path in folder.iterdir():
        if path.name != BACKBONE_NAME:
            (copy / path.name).write_bytes(path.read_bytes())
    module = after.module(SRAEModule, init_from=copy)
    after.fit(module)
    assert "cannot be measured:" in " ".join(capsys.readouterr().out.split())
    assert "feature_movement" not in module.metadata()


def test_a_resumed_fit_is_the_one_that_was_not_stopped(before: Run, after: Run, tmp_path: Path) -> None:
    whole = after.module(SRAEModule, init_from=exported(before, SRAEModule))
    after.fit(whole, epochs=2)
    first = after.module(SRAEModule, init_from=exported(before, SRAEModule))
    after.fit(first, StopAfter(1), epochs=2).save_checkpoint(tmp_path / "a.ckpt", weights_only=False)
    again = after.module(SRAEModule, init_from=exported(before, SRAEModule))
    after.fit(again, epochs=2, ckpt_path=tmp_path / "a.ckpt")
    for name, value in whole.explainer.head_state().items():
        assert torch.equal(again.explainer.head_state()[name], value), name


class StopAfter(pl.Callback):
    """Stops a fit behind an epoch."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:  # noqa: ARG002
        trainer.should_stop = trainer.current_epoch + 1 >= self.epochs


def test_a_prediction_needs_heads_of_the_network(before: Run, after: Run) -> None:
    module = after.module(SRAEModule, init_from=exported(before, SRAEModule))
    with pytest.raises(ValueError, match="of other classes than the backbone's logits, and there is no checkpoint"):
        module.on_predict_start()
