"""Contact sheets against a sort of all images; run as a script, a two-process run of them."""

from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from typing_extensions import override

from callbacks.contact_sheets import ContactSheets
from lightning_modules.base import ExplainerModule
from tests.helpers import explaining_fakes as fakes
from tests.helpers.image_data import ImageData
from tests.helpers.ranks import RankPool
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.explanation import Explanation
from vitrine.core.file_names import safe_name
from vitrine.explainers.base import Explainer, Target, target_classes
from vitrine.visualization.contact_sheet import ContactTile, contact_pixels, contact_sheet

SIZE, IMAGES, CELL = 12, 23, 40
CLASSES = ["loon", "a/b & <i>c</i>", "tern"]
LIVE = [[0, 1, 2], [0, 2], [1, 2]]  # numbers of the heatmaps that each class has


class Colours(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3))


class ColourExplainer(Explainer):
    """Three heatmaps, the colours; contributions come in steps, so that many are equal, and the third's are below 0."""

    def __init__(self) -> None:
        super().__init__(FrozenBackbone(Colours()))
        self.unused = nn.Parameter(torch.zeros(()))

    @override
    def heatmap_counts(self) -> dict[str, int]:
        return {self.class_name(index): 3 for index in range(3)}

    @override
    def heatmap_numbers(self, class_index: int) -> list[int]:
        return LIVE[class_index]

    @override
    def explain_batch(self, images: Tensor, target: Target) -> Explanation:
        logits = self.backbone.model(images)
        classes = target_classes(target, logits.argmax(dim=1), 3)
        units = [LIVE[index] for index in classes.tolist()]
        heatmaps, scores = torch.zeros_like(images), torch.zeros(len(images), 3)
        for row, numbers in enumerate(units):
            heatmaps[row, : len(numbers)] = images[row, numbers]
            steps = (images[row, :, 0, 0].clamp(min=0) * 2).round() * torch.tensor([1.0, 1.0, -1.0])
            scores[row, : len(numbers)] = steps[numbers]
        labels = [
            [self.heatmap_name(index, number, f"x-feature {number + 1}") for number in numbers]
            + [""] * (3 - len(numbers))
            for index, numbers in zip(classes.tolist(), units, strict=True)
        ]
        valid = torch.tensor([[number < len(numbers) for number in range(3)] for numbers in units])
        return Explanation(heatmaps, scores, labels, logits.argmax(dim=1), classes, logits, valid)


class Shades:
    def denormalize(self, images: Tensor) -> Tensor:
        return (images * 0.25 + 0.5).clamp(0, 1)


class ColourData(ImageData):
    """Images of random colours, in some order and batches of some size."""

    classes, preprocessing = CLASSES, Shades()

    def __init__(self, batch_size: int = 4, *, backwards: bool = False) -> None:
        super().__init__()
        self.batch_size, self.order = batch_size, list(range(IMAGES))[:: -1 if backwards else 1]

    def sample(self, n: int) -> dict[str, Any]:
        image = torch.randn(3, SIZE, SIZE, generator=torch.Generator().manual_seed(n))
        return {"image": image, "label": n % 3, "key": f"{'ab'[n % 2]}/image-{(7 * n) % IMAGES:02d}"}

    def loader(self) -> DataLoader[Any]:
        return DataLoader([self.sample(n) for n in self.order], batch_size=self.batch_size)  # type: ignore[arg-type]

    test_dataloader = predict_dataloader = loader


def run(folder: Path, callback: ContactSheets, data: ColourData | None = None, **options: Any) -> ExplainerModule:
    """One test, which leaves its sheets in the folder."""
    quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    settings: dict[str, Any] = {"accelerator": "cpu", "devices": 1, "logger": False, "inference_mode": False, **quiet}
    module = ExplainerModule(ColourExplainer(), **{k: options.pop(k) for k in ("names",) if k in options})
    trainer = pl.Trainer(default_root_dir=folder, callbacks=[callback], **(settings | options))
    trainer.test(module, datamodule=data or ColourData(), verbose=False)
    return module


def pictures(folder: Path) -> dict[str, NDArray[np.uint8]]:
    found = {}
    for path in sorted((folder / "x_features").rglob("*.png")):
        with Image.open(path) as image:
            found[str(path.relative_to(folder / "x_features"))] = np.asarray(image)
    return found


def page(folder: Path) -> str:
    return unescape((folder / "x_features" / "index.html").read_text(encoding="utf-8"))


def naive(images: int, columns: int) -> dict[str, NDArray[np.uint8]]:
    """All images, explained at once and sorted."""
    data, explainer = ColourData(), ColourExplainer()
    samples = [data.sample(n) for n in range(IMAGES)]
    stacked = torch.stack([sample["image"] for sample in samples])
    plain, explanation = data.preprocessing.denormalize(stacked), explainer.explain(stacked)
    found = {}
    for index, name in enumerate(CLASSES):
        for place, number in enumerate(LIVE[index]):
            rows = [n for n in range(IMAGES) if explanation.target[n] == index and explanation.scores[n, place] != 0]
            rows.sort(key=lambda n: (-abs(float(explanation.scores[n, place])), samples[n]["key"]))
            tiles = [
                ContactTile(
                    float(explanation.scores[n, place]),
                    samples[n]["key"],
                    0,
                    contact_pixels(plain[n], explanation.heatmaps[n, place], CELL),
                )
                for n in rows[:images]
            ]
            if tiles:
                sheet = contact_sheet(f"{name}: x-feature {number + 1}", tiles, columns)
                found[f"{safe_name(name)}/x-feature-{number + 1}.png"] = np.asarray(sheet)
    return found


def assert_equal(found: dict[str, NDArray[np.uint8]], expected: dict[str, NDArray[np.uint8]]) -> None:
    assert found.keys() == expected.keys()
    for name, picture in expected.items():
        assert np.array_equal(found[name], picture), name


@pytest.mark.parametrize(("batch_size", "backwards"), [(4, False), (5, True)])
def test_sheets_are_the_head_of_a_sort_of_all_images(batch_size: int, backwards: bool, tmp_path: Path) -> None:
    data = ColourData(batch_size, backwards=backwards)
    run(tmp_path, ContactSheets(num_images=4, num_columns=3, tile_size=CELL), data)
    expected = naive(4, 3)
    assert len(expected) == 7  # x-features that a class does not have, and padding, have no sheet
    assert_equal(pictures(tmp_path), expected)
    assert [path.name for path in tmp_path.iterdir()] == ["x_features"]


def test_the_page_shows_every_sheet_and_says_where_to_name_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, ContactSheets(num_images=2, tile_size=CELL))
    assert f"Contact sheets: {tmp_path / 'x_features' / 'index.html'}" in capsys.readouterr().out
    raw, text = (tmp_path / "x_features" / "index.html").read_text(encoding="utf-8"), page(tmp_path)
    for name in pictures(tmp_path):
        from urllib.parse import quote

        assert f'src="{quote(name)}"' in raw
    assert f"<code>{tmp_path / 'explainer' / 'names.yaml'}</code>" in text
    assert 'data-class="loon" data-number="3"' in text
    assert text.count('value=""') == 7
    assert "<i>c</i>" not in raw.partition("<script")[0]
    assert not any(word in raw for word in ("http:", "https:", "//cdn", "@import", "url("))


def test_names_in_the_runs_folder_are_shown(tmp_path: Path) -> None:
    (tmp_path / "explainer").mkdir()
    (tmp_path / "explainer" / "names.yaml").write_text("tern: ['', fork & tail, '']", encoding="utf-8")
    module = run(tmp_path, ContactSheets(num_images=2, tile_size=CELL))
    assert 'data-class="tern" data-number="2" value="fork & tail"' in page(tmp_path)
    assert page(tmp_path).count('value=""') == 6
    assert sorted(path.name for path in (tmp_path / "x_features" / "tern").iterdir()) == [
        "x-feature-2.png",
        "x-feature-3.png",
    ]
    assert module.explainer.heatmap_names["tern"][1] == "fork & tail"


def test_an_x_feature_that_contributes_to_nothing_is_told_of(tmp_path: Path) -> None:
    class Silent(ColourData):
        def sample(self, n: int) -> dict[str, Any]:
            sample = super().sample(n)
            sample["image"][1] = -1  # the second colour: its class is predicted of none, and it contributes nowhere
            return sample

    run(tmp_path, ContactSheets(num_images=2, tile_size=CELL), Silent())
    assert not any("x-feature-2" in name for name in pictures(tmp_path))
    assert page(tmp_path).count("Contributes to no image that was explained as this class.") == 4


@pytest.mark.parametrize(
    ("options", "expected"), [({"classes": ["tern"]}, ["tern"]), ({"max_classes": 1}, ["loon"]), ({"classes": []}, [])]
)
def test_some_classes(options: dict[str, Any], expected: list[str], tmp_path: Path) -> None:
    run(tmp_path, ContactSheets(num_images=1, tile_size=CELL, **options))
    assert sorted({name.split("/")[0] for name in pictures(tmp_path)}) == expected


def test_an_earlier_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    run(tmp_path, ContactSheets(num_images=1, tile_size=CELL))
    run(tmp_path, ContactSheets(num_images=1, tile_size=CELL, classes=["loon"]))
    assert [name.split("/")[0] for name in pictures(tmp_path)] == ["loon"] * 3


@pytest.mark.parametrize("option", ["num_images", "num_columns", "max_classes", "tile_size"])
def test_numbers_below_one(option: str) -> None:
    options: dict[str, Any] = {option: 0}
    with pytest.raises(ValueError, match=f"^{option} is 0; give "):
        ContactSheets(**options)


def test_an_unknown_class_is_found_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no explained class 'lon'; near names: loon"):
        run(tmp_path, ContactSheets(classes=["lon"]))


def test_needs_heatmaps_that_mean_the_same_in_every_image(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ContactSheets needs an explainer with the same heatmaps .* FakeExplainer"):
        fakes.trainer(tmp_path, ContactSheets()).test(fakes.module(), datamodule=fakes.FakeData(), verbose=False)


def test_two_processes_leave_what_one_leaves(ranks: RankPool, tmp_path: Path) -> None:
    ranks.run(sheets_on_rank, tmp_path / "2", 2)
    sheets_on_rank(0, tmp_path / "1", 1)
    one, two = (tmp_path / name for name in ("1", "2"))
    assert_equal(pictures(two), pictures(one))
    assert page(two) == page(one).replace(str(one), str(two))


def test_a_names_file_that_does_not_fit_stops_a_test(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("crow: [a]", encoding="utf-8")
    with pytest.raises(ValueError, match=r"mine\.yaml has names for 'crow', which is no explained class"):
        run(tmp_path, ContactSheets(), names=tmp_path / "mine.yaml")


def test_another_names_file(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("loon: [red eye, '', '']", encoding="utf-8")
    run(tmp_path, ContactSheets(num_images=1, tile_size=CELL), names=str(tmp_path / "mine.yaml"))
    assert 'data-class="loon" data-number="1" value="red eye"' in page(tmp_path)
    assert f"<code>{tmp_path / 'mine.yaml'}</code>" in page(tmp_path)


def test_a_missing_names_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"names .*mine\.yaml does not exist; give a file of names"):
        ExplainerModule(ColourExplainer(), names=tmp_path / "mine.yaml")


def test_predictions_show_names_and_no_padding(tmp_path: Path) -> None:
    from callbacks.predictions import PredictionWriter

    (tmp_path / "explainer").mkdir()
    (tmp_path / "explainer" / "names.yaml").write_text("tern: ['', forked tail, '']", encoding="utf-8")
    trainer = pl.Trainer(
        default_root_dir=tmp_path, callbacks=[PredictionWriter()], accelerator="cpu", devices=1, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, inference_mode=False,
    )  # fmt: skip
    module = ExplainerModule(ColourExplainer())
    module.explainer.classes = list(CLASSES)  # as a checkpoint gives them
    trainer.predict(module, datamodule=ColourData(), return_predictions=False)
    table = (tmp_path / "predictions" / "predictions.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert sum("forked tail" in row for row in table) == sum(",tern," in row for row in table) > 0
    overlays = {n: len(list(path.parent.glob("*.png"))) for n, path in enumerate(tmp_path.rglob("*.safetensors"))}
    assert set(overlays.values()) == {2, 3}


def sheets_on_rank(rank: int, folder: Path, devices: int) -> None:
    """Tests over so many processes."""
    callback = ContactSheets(num_images=3, num_columns=2, tile_size=CELL)
    run(folder, callback, devices=devices, strategy="ddp" if devices > 1 else "auto")


def test_a_tile_that_cannot_be_drawn_ends_the_test_and_leaves_the_earlier_sheets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is drawn in another thread, whose error must not be lost."""

    def broken(*args: object) -> None:
        raise ValueError("cannot be drawn")

    run(tmp_path, ContactSheets(num_images=1, tile_size=CELL))
    before, callback = pictures(tmp_path), ContactSheets(num_images=4, tile_size=CELL)
    with monkeypatch.context() as patched:
        patched.setattr("callbacks.contact_sheets.contact_pixels", broken)
        with pytest.raises(ValueError, match="cannot be drawn"):
            run(tmp_path, callback)
    assert_equal(pictures(tmp_path), before)
    assert [path.name for path in tmp_path.iterdir()] == ["x_features"]
    run(tmp_path, callback)
    assert pictures(tmp_path).keys() == before.keys()
