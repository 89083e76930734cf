"""Excitation backprop of the logit itself, beside the heatmaps: in panels and in the gallery."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from callbacks.heatmaps import HeatmapPanel, interleaved_maps
from callbacks.report import ReportGallery
from tests.helpers import explaining_fakes as fakes
from tests.helpers.pages import cards_of
from vitrine.attribution import ExcitationBackprop, excitation_maps
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.explanation import Explanation
from vitrine.core.options import Options
from vitrine.explainers.srae.x_features import LOGIT_MAP, XFeatureOptions, logit_maps
from vitrine.visualization.grid import captioned_grid
from vitrine.visualization.layers import strength_layer
from vitrine.visualization.overlays import overlay
from vitrine.visualization.panel import panel
from vitrine.visualization.report import GalleryEntry, write_gallery
from vitrine.visualization.scale import shares


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)
    ).train()


def explained(count: int = 3, height: int = 20, width: int = 30) -> tuple[Tensor, Explanation]:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(count, 3, height, width, generator=generator)
    labels = [["a", "b", ""], ["a", "", ""], ["a", "b", "c"]]
    return images, Explanation(
        heatmaps=torch.rand(count, 3, height, width, generator=generator),
        scores=torch.tensor([[1.0, 2.0, 0.0], [3.0, 0.0, 0.0], [-1.0, 1.0, 0.5]]),
        labels=labels[:count],
        valid=torch.tensor([[bool(label) for label in row] for row in labels])[:count],
        prediction=torch.tensor([0, 1, 2])[:count],
        target=torch.tensor([0, 1, 1])[:count],
        logits=torch.tensor([[4.0, 1.0, 0.0], [0.0, 7.25, 1.0], [0.0, -3.5, 1.0]])[:count],
    )


def cells(image: Image.Image, row: int, caption: int, size: tuple[int, int], gap: int = 10) -> list[np.ndarray]:
    """The cells of a row, captions and all."""
    top, step = row * (caption + size[1] + gap), size[0] + gap
    count = (image.width - gap) // step
    pixels = np.asarray(image)[top + gap : top + gap + caption + size[1]]
    return [pixels[:, gap + n * step : gap + n * step + size[0]] for n in range(count)]


@pytest.mark.parametrize("options", [{}, {"contrastive": False}, {"negative_activations": "zplus"}])
def test_logit_maps_are_of_the_explainers_kind(options: dict[str, Any], network: nn.Module) -> None:
    explainer: Any = nn.Module()
    explainer.backbone = FrozenBackbone(network)
    explainer.options = XFeatureOptions("layer", **options) if options else Options()
    images = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([0, 2, 1, 1, 0])
    kind: dict[str, Any] = {"contrastive": True, "negative_activations": "clamp"} | options
    expected, _ = excitation_maps(network.eval(), images, target[:, None], **kind)
    with torch.inference_mode():
        found = logit_maps(explainer, images, target, internal_batch_size=2)
    torch.testing.assert_close(found, expected)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_panel_with_maps_beside_has_one_more_column_and_no_padding() -> None:
    images, explanation = explained()
    maps = torch.rand(3, 1, 20, 30)
    plain = panel(images, explanation, ["x", "y", "z"], cell=60)
    with_maps = panel(images, explanation, ["x", "y", "z"], cell=60, beside=(LOGIT_MAP, maps))
    caption, size = 3 * 18 + 4, (60, 40)
    assert plain.width == 10 + 4 * 70
    assert with_maps.width == 10 + 5 * 70
    for row, (logit, heatmaps) in enumerate([(4.0, 2), (7.25, 1), (-3.5, 3)]):
        before, after = cells(plain, row, caption, size), cells(with_maps, row, caption, size)
        for old, new in zip(before, [after[0], *after[2:]], strict=True):
            assert np.array_equal(old, new)
        assert np.array_equal(after[1][caption:], np.asarray(overlay(images[row], maps[row, 0], side=60)))
        alone = np.asarray(captioned_grid([[(f"{LOGIT_MAP}\n{logit:+.2f}", Image.new("RGB", size))]]))
        assert np.array_equal(after[1][caption - 38 : caption], alone[12 : 12 + 38, 10:70])  # two lines above the tile
        assert [bool((cell < 255).any()) for cell in before[1:]] == [n < heatmaps for n in range(3)]


def test_padding_is_left_out_by_score_too() -> None:
    images, explanation = explained()
    negative = replace(explanation, scores=torch.tensor([[-1.0, -2.0, 0.0], [-3.0, 0.0, 0.0], [-1.0, 1.0, 0.5]]))
    one = panel(images, negative, ["x", "y", "z"], cell=60, heatmaps=1, by_score=True)
    tiles = [cells(one, row, 3 * 18 + 4, (60, 40))[1][58:] for row in range(3)]
    for row, best in enumerate([0, 0, 1]):  # padding has the highest score of the first two rows
        share = shares(negative.scores[row, negative.valid_heatmaps(row)].tolist())[best]
        assert np.array_equal(
            tiles[row], np.asarray(overlay(images[row], explanation.heatmaps[row, best], side=60, share=share))
        )


def test_maps_beside_must_be_as_many_as_images() -> None:
    images, explanation = explained()
    with pytest.raises(ValueError, match="as many maps beside as images, got 2 and 3"):
        panel(images, explanation, [], beside=(LOGIT_MAP, torch.rand(2, 1, 20, 30)))


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_interleaved_maps_restores_the_order(world: int) -> None:
    maps = torch.rand(5, 1, 2, 2)
    shares = [maps[rank::world] if rank < 5 else None for rank in range(world)]
    assert torch.equal(interleaved_maps(shares), maps)


def test_the_panel_callback_draws_the_maps_beside(network: nn.Module, tmp_path: Path) -> None:
    model: Any = fakes.module(lr=0.0)
    data = fakes.FakeData()
    model.explainer.backbone, model.explainer.options = FrozenBackbone(network), Options()
    callback = HeatmapPanel(num_images=3, logit_map=True)
    fakes.trainer(tmp_path, callback, max_epochs=1).fit(model, datamodule=data)
    batch = data.panel(3)
    explanation = model.eval().explainer.explain(batch["image"])
    maps = ExcitationBackprop(network, contrastive=True).attribute(batch["image"], explanation.target)
    plain = data.preprocessing.denormalize(batch["image"])
    expected = panel(plain, explanation, fakes.CLASSES, beside=(LOGIT_MAP, maps))
    with Image.open(tmp_path / "panels" / "epoch-0000-step-000005.png") as drawn:
        assert np.array_equal(np.asarray(drawn), np.asarray(expected))


def test_the_report_shows_the_map_of_drawn_images_only(
    network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = fakes.module()
    data = fakes.FakeData()
    model.explainer.backbone, model.explainer.options = FrozenBackbone(network), Options()
    asked: list[int] = []

    def counted(explainer: Any, images: Tensor, target: Tensor) -> Tensor:
        asked.append(len(images))
        return logit_maps(explainer, images, target)

    monkeypatch.setattr("callbacks.report.logit_maps", counted)
    run = fakes.trainer(tmp_path, ReportGallery(1, logit_map=True))
    run.test(model, datamodule=data, verbose=False)
    cards = cards_of(tmp_path / "report")
    assert [[tile.get("kind") for tile in card["groups"][0]["tiles"]].count("logit") for card in cards] == [1, 1, 1]
    assert sum(asked) < fakes.IMAGES
    sample = min((data.sample(n) for n in range(0, 9, 3)), key=lambda s: s["key"])  # the first class's first
    target = model.eval().explainer.explain(sample["image"][None]).target
    expected = strength_layer(
        ExcitationBackprop(network, contrastive=True).attribute(sample["image"][None], target)[0, 0]
    )
    assert expected is not None
    with Image.open(tmp_path / "report" / "images" / "0001-logit.webp") as found:
        alpha = np.asarray(found.convert("RGBA"))[..., 3].astype(int)
    assert np.abs(alpha - np.asarray(expected)[..., 3]).max() <= 1  # kept in half precision


def test_the_gallery_tells_the_logit_from_contributions_and_leaves_padding_out(tmp_path: Path) -> None:
    images, explanation = explained()
    entry = GalleryEntry("k", images[0], (0,), explanation[0:1], (LOGIT_MAP, torch.rand(20, 30)))
    write_gallery(tmp_path / "with", [entry], title="t", metrics={}, class_names=["x"])
    (card,) = cards_of(tmp_path / "with")
    tiles = card["groups"][0]["tiles"]
    assert [tile["label"] for tile in tiles] == [LOGIT_MAP, "a", "b", "all together"]
    assert tiles[0]["score"] == 4
    assert tiles[3]["score"] == 3  # without the logit
    assert [tile.get("share", 1) for tile in tiles] == [1, 0.5, 1, 1]  # the scale is that of contributions
    names = sorted(path.name for path in (tmp_path / "with" / "images").iterdir())
    assert names == ["0001-1.webp", "0001-2.webp", "0001-all.webp", "0001-logit.webp", "0001.webp"]
    write_gallery(tmp_path / "without", [replace(entry, logit_map=None)], title="t", metrics={}, class_names=["x"])
    assert LOGIT_MAP not in (tmp_path / "without" / "cards.js").read_text(encoding="utf-8")
