"""Fits of masking networks: their loss against naive passes, what they change, and ranks."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from lightning_modules import MaskingModule
from tests.helpers.ranks import RankPool
from vitrine.backbones.copying import weight_digest
from vitrine.backbones.networks import BackboneOptions
from vitrine.core.batch import Batch
from vitrine.explainers import MaskingExplainer, MaskingLosses, MaskingOptions, load
from vitrine.explainers.masking.draws import drawn

ROOT = Path(__file__).parents[2]
SIZE, CLASSES = 32, 6


def make_module(lr: float = 1e-2, init_from: Path | None = None, **losses: Any) -> MaskingModule:
    """On the trained network that the repository holds."""
    torch.manual_seed(0)
    folder = ROOT / "vitrine" / "data" / "an8flower"
    backbone = BackboneOptions("vitrine.data.an8flower.network:FlowerNet", str(folder / "flower_net.safetensors"))
    return MaskingModule(
        backbone,
        MaskingOptions(image_size=SIZE, width=8),
        MaskingLosses(**losses),
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=lr),
        lr_scheduler=None,
        init_from=init_from,
    )


def make_batches(count: int = 2, size: int = 4, *, several: bool = False) -> list[Batch]:
    generator = torch.Generator().manual_seed(1)
    batches = []
    for number in range(count):
        images = torch.rand(size, 3, 8, 8, generator=generator).repeat_interleave(4, 2).repeat_interleave(4, 3) * 4 - 2
        label = torch.randint(CLASSES, (size,), generator=generator)
        if several:
            label = (torch.rand(size, CLASSES, generator=generator) < 0.4).float()
            label[0] = 0
        batches.append(Batch(image=images, label=label, key=[f"{number}_{row}" for row in range(size)]))
    return batches


def trainer_of(folder: Path, epochs: int = 1, **options: Any) -> pl.Trainer:
    settings: dict[str, Any] = {
        "accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_model_summary": False,
        "enable_progress_bar": False, "num_sanity_val_steps": 0, "inference_mode": False,
    }  # fmt: skip
    return pl.Trainer(max_epochs=epochs, default_root_dir=folder, **{**settings, **options})


def loader(batches: list[Batch]) -> DataLoader[Any]:
    return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]


def fit(module: MaskingModule, batches: list[Batch], trainer: pl.Trainer) -> dict[str, float]:
    trainer.fit(module, loader(batches), loader(batches[:1]))
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


@pytest.mark.parametrize("several", [False, True])
def test_the_loss_is_that_of_each_image_and_class(several: bool, tmp_path: Path) -> None:
    """Transcribed, one after the other, with the same draws."""
    module, (batch,) = make_module(lr=1e-9, fake_share=0.4), make_batches(1, several=several)
    explainer, model = module.explainer, module.explainer.backbone.model
    pairs = batch["label"].nonzero().tolist() if several else list(enumerate(batch["label"].tolist()))
    totals = []
    for row, label in pairs:
        image = batch["image"][row : row + 1]
        draws = drawn(image, torch.tensor([label]), [batch["key"][row]], 0, CLASSES, module.losses)
        with torch.no_grad():
            small = explainer.masks(explainer.features(image)[1], draws.classes)
            mask = torch.nn.functional.interpolate(small, (SIZE, SIZE), mode="bilinear")
            chances = [
                model(image * m + draws.background * (1 - m)).softmax(1)[0, draws.classes[0]] for m in (mask, 1 - mask)
            ]
        cells = small[0, 0]
        tv = (cells.diff(dim=0) ** 2).sum() + (cells.diff(dim=1) ** 2).sum()
        loss = 10 * tv / cells.numel() + 12.5 * cells.mean()
        totals.append(loss if draws.is_fake else loss - chances[0].log() + 5 * chances[1] ** 0.3)
    found = fit(module, [batch], trainer_of(tmp_path))
    assert found["train/loss"] == pytest.approx(float(sum(totals)) / len(totals), rel=1e-4)


def test_a_fit_lowers_the_loss_behind_glass_and_is_loaded_again(tmp_path: Path) -> None:
    batches = make_batches()
    before = fit(make_module(lr=1e-9), batches, trainer_of(tmp_path))
    module = make_module()
    digest, images = module.explainer.backbone.digest, batches[0]["image"]
    after = fit(module, batches, trainer_of(tmp_path, epochs=25))
    assert after["val/loss"] < 0.7 * before["val/loss"]
    assert {f"val/loss/{name}" for name in ("total_variation", "area", "preservation", "deletion")} < set(after)
    model = module.explainer.backbone.model
    assert weight_digest(model.state_dict()) == digest
    assert all(parameter.grad is None for parameter in model.parameters())
    assert {name.split(".")[0] for name, _ in module.explainer.named_parameters()} == {"decoder"}
    module.explainer.save(tmp_path / "explainer")
    loaded = load(tmp_path / "explainer")
    assert isinstance(loaded, MaskingExplainer)
    torch.testing.assert_close(loaded.explain(images).heatmaps, module.explainer.explain(images).heatmaps)
    tuned = make_module(init_from=tmp_path / "explainer")
    (tested,) = trainer_of(tmp_path).test(tuned, loader(batches[:1]), verbose=False)
    assert tested["test/loss"] == pytest.approx(after["val/loss"], rel=1e-4)


def test_images_without_labels_give_no_loss(tmp_path: Path) -> None:
    (batch,) = make_batches(1)
    bare: Any = {name: value for name, value in batch.items() if name != "label"}
    assert not len(make_module().losses_of(bare, draw=False)["loss"])
    assert trainer_of(tmp_path).test(make_module(), loader([bare]), verbose=False) == [{}]


# Over ranks


def figures_over_ranks(rank: int, world: int, folder: Path) -> dict[str, Any]:
    """A fit with different numbers of masks on each rank."""
    options: dict[str, Any] = {
        "devices": world,
        "strategy": "ddp" if world > 1 else "auto",
        "use_distributed_sampler": False,
    }
    module, whole = make_module(), make_batches(size=5, several=True)
    batches: list[Any] = list(whole)
    own: list[Any] = [{name: value[rank::world] for name, value in batch.items()} for batch in batches]
    fitted = fit(module, own, trainer_of(folder, epochs=2, **options))
    return {"head": {name: value.clone() for name, value in module.explainer.head_state().items()}, "logged": fitted}


def test_two_ranks_equal_one(tmp_path: Path, ranks: RankPool) -> None:
    together = ranks.run(figures_over_ranks, 2, tmp_path, folder=tmp_path)[0]
    alone = figures_over_ranks(0, 1, tmp_path)
    assert together["logged"] == pytest.approx(alone["logged"], rel=1e-3, abs=1e-5)
    for name, value in alone["head"].items():
        torch.testing.assert_close(together["head"][name], value, atol=1e-3, rtol=1e-2)
