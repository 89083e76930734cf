"""Settings chosen on one half of the images and measured on the other: against a naive choice, and the command."""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from experiments.halves import ByHalves, by_halves, in_second_half, main
from tests.helpers.tested_runs import Row, mean_of, write_run
from vitrine.visualization.comparison.tested_runs import read_runs

KEYS = [f"image{number}" for number in range(40)]
EXPLAINERS = {"Ours": "InversionMask", "Ours σ 5": "InversionMask", "Grad-CAM": "GradCAM", "Center": "Center"}
ALPHAS = ("0", "0.5", "1")
ERROR = "localization/error"


def rows_of(name: str, keys: Sequence[str]) -> list[Row]:
    """Two classes an image; by chance, but the same in every run."""
    generator = np.random.default_rng(list(EXPLAINERS).index(name))
    chances = {key: generator.random((2, 1 + len(ALPHAS))) for key in KEYS}
    return [
        (
            key,
            f"class{(int(key[5:]) + place) % 3}",
            {
                "pointing_game": float(chances[key][place, 0] < 0.6),
                **{f"{ERROR}/{alpha}": float(chances[key][place, 1 + n] < 0.5) for n, alpha in enumerate(ALPHAS)},
                ERROR: 0.0,
            },
        )
        for key, place in product(keys, range(2))
    ]


def write_comparison(folder: Path, keys: Sequence[str], names: Mapping[str, str] = EXPLAINERS) -> Path:
    for name, method in names.items():
        write_run(folder / "explainers" / name, name, rows_of(name, keys), settings={"method": method})
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Two runs of the same explainers, on other images."""
    return [write_comparison(tmp_path / "first", KEYS[::2]), write_comparison(tmp_path / "second", KEYS[1::2])]


def measured(folders: Sequence[Path], figure: str, ours: str = "InversionMask", resamples: int = 200) -> list[ByHalves]:
    return by_halves([read_runs([folder]) for folder in folders], figure, ours, resamples=resamples)


def naive(method: str, figures: Mapping[str, str], sign: float) -> tuple[list[str], list[float]]:
    """Names of the settings chosen on each half, and their figures on the other."""
    names = [name for name, of in EXPLAINERS.items() if of == method]
    settings = {f"{name}{title}": (name, figure) for name in names for title, figure in figures.items()}
    halves = [[key for key in KEYS if in_second_half(key) == second] for second in (False, True)]
    means = [
        {label: mean_of(rows_of(name, half), figure) for label, (name, figure) in settings.items()} for half in halves
    ]
    chosen = [max(of_half, key=lambda label, known=of_half: sign * known[label]) for of_half in means]  # type: ignore[misc]
    return chosen, [means[0][chosen[1]], means[1][chosen[0]]]


@pytest.mark.parametrize(
    ("figure", "figures", "sign"),
    [
        ("pointing_game", {"": "pointing_game"}, 1.0),
        (f"{ERROR}/*", {f", {alpha}": f"{ERROR}/{alpha}" for alpha in ALPHAS}, -1.0),
    ],
)
def test_each_half_is_measured_under_the_setting_of_the_other(
    figure: str, figures: Mapping[str, str], sign: float, folders: list[Path]
) -> None:
    found = {one.method: one for one in measured(folders, figure)}
    assert set(found) == set(EXPLAINERS.values())
    for method, one in found.items():
        chosen, of_halves = naive(method, figures, sign)
        assert one.chosen == tuple(chosen)
        assert one.of_halves == pytest.approx(of_halves)
        assert one.settings == len(figures) * list(EXPLAINERS.values()).count(method)
        assert one.lead == pytest.approx(sign * (found["InversionMask"].value - one.value))
        assert one.low <= one.value <= one.high
    assert [one.value for one in found.values()] == sorted((one.value for one in found.values()), reverse=sign > 0)


def test_the_lead_is_paired(tmp_path: Path) -> None:
    """Of a method that misses where ours does, and on one image more, the lead is certain to be no loss."""
    rows = rows_of("Ours", KEYS)
    hit = next(number for number, row in enumerate(rows) if row[2]["pointing_game"])
    worse = [
        (key, target, {**values, "pointing_game": 0.0 if number == hit else values["pointing_game"]})
        for number, (key, target, values) in enumerate(rows)
    ]
    write_run(tmp_path / "explainers" / "a", "a", rows, settings={"method": "InversionMask"})
    write_run(tmp_path / "explainers" / "b", "b", worse, settings={"method": "GradCAM"})
    ours, other = measured([tmp_path], "pointing_game")
    assert (ours.lead, ours.lead_low, ours.lead_high) == (0, 0, 0)
    assert other.lead > 0
    assert other.lead_low == 0  # in resamples without the image
    assert other.lead_high < (ours.high - ours.low) / 2  # that of the difference of two that are not paired is larger


def test_the_command_writes_the_table(folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*map(str, folders), "--figure", f"{ERROR}/*", "--resamples", "50"]
    assert main([*arguments, "--out", str(tmp_path / "new" / "table.md")]) == 0
    text = (tmp_path / "new" / "table.md").read_text()
    rows = [line.split(" | ") for line in text.splitlines()]
    assert {row[0] for row in rows[2:]} == {"| InversionMask", "| GradCAM", "| Center"}
    assert next(row for row in rows if row[0] == "| InversionMask")[4:6] == ["", ""]
    assert main(arguments) == 0
    assert capsys.readouterr().out == text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--figure", "weather"], "--figure is 'weather', of which it is not known"),
        (["--figure", "iou"], "--figure is 'iou', which no run measured image by image"),
        (["--ours", "Mine"], "--ours is 'Mine', which no explainer is of"),
        (["--resamples", "0"], "resamples is 0; give "),
    ],
)
def test_wrong_options_are_one_sentence(
    arguments: list[str], told: str, folders: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*map(str, folders), *arguments]) == 2
    assert told in capsys.readouterr().err


def test_runs_that_do_not_belong_together_are_refused(folders: list[Path], tmp_path: Path) -> None:
    """Pairs that two runs have measured, such as runs of two networks on the same images; and runs on two data sets."""
    again = write_comparison(tmp_path / "again", KEYS[1:2], {"Grad-CAM": "GradCAM"})
    with pytest.raises(
        ValueError, match=r"again/explainers/Grad-CAM measured pointing_game on 'image1' of 'class1'.*too"
    ):
        measured([*folders, again], "pointing_game")
    with pytest.raises(ValueError, match="measured pointing_game on 'image0'"):
        measured([*folders, folders[0]], "pointing_game")
    settings = {"method": "Center"}
    write_run(
        tmp_path / "other" / "explainers" / "Center", "Center", rows_of("Center", ["image7"]), settings=settings,
        data="VOCDataModule",
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"on FlowerDataModule and .*other.* on VOCDataModule"):
        measured([*folders, tmp_path / "other"], "pointing_game")


def test_settings_that_lack_images_are_never_chosen(tmp_path: Path) -> None:
    """An α that one run alone has measured; of NaN is neither the largest nor the smallest error."""

    def without(rows: list[Row], figure: str, keys: Sequence[str]) -> list[Row]:
        return [(key, to, {f: v for f, v in of.items() if f != figure or key not in keys}) for key, to, of in rows]

    names = {"Ours": "InversionMask", "Center": "Center"}
    for name, method in names.items():
        rows = rows_of(name, KEYS)
        kept = without(rows, f"{ERROR}/0", KEYS[:3]) if name == "Ours" else rows
        write_run(tmp_path / "some" / "explainers" / name, name, kept, settings={"method": method})
        for alpha in ALPHAS:
            kept = without(kept, f"{ERROR}/{alpha}", KEYS[int(2 * float(alpha)) :][:1]) if name == "Ours" else rows
        write_run(tmp_path / "none" / "explainers" / name, name, kept, settings={"method": method})
    ours = {one.method: one for one in measured([tmp_path / "some"], f"{ERROR}/*")}["InversionMask"]
    assert ours.settings == 2
    assert np.isfinite([*ours.of_halves, ours.value]).all()
    with pytest.raises(ValueError, match=r"No setting of InversionMask measured localization/error/\*"):
        measured([tmp_path / "none"], f"{ERROR}/*")


def test_explainers_on_other_images_are_refused(folders: list[Path]) -> None:
    write_run(folders[0] / "explainers" / "LRP", "LRP", rows_of("Center", KEYS[::2]), settings={"method": "LRP"})
    with pytest.raises(ValueError, match="LRP measured pointing_game on other images"):
        measured(folders, "pointing_game")
    alone = write_comparison(folders[0].parent / "alone", KEYS[:1])
    with pytest.raises(ValueError, match="All of the 1 tested images are in one half"):
        measured([alone], "pointing_game")
