"""Names that a person gives to heatmaps: read, checked, written, and never lost."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from typing_extensions import override

import vitrine
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.explanation import Explanation
from vitrine.core.options import Options
from vitrine.explainers.base import Explainer, Target
from vitrine.explainers.names import NAMES_NAME, Names, joined, read_names, without_names, write_names

COUNTS = {"ant": 3, "bee & co: <b>": 2}


@dataclass(frozen=True)
class NamedOptions(Options):
    """Number of heatmaps by class."""

    heatmaps: Sequence[int] = (3, 2)


class NamedExplainer(Explainer):
    """Three heatmaps for the first class and two for the second."""

    options_type = NamedOptions
    options: NamedOptions

    def __init__(
        self,
        backbone: FrozenBackbone,
        options: NamedOptions | None = None,
        classes: Sequence[str] | None = None,
        **rest: Any,
    ) -> None:
        super().__init__(backbone, options, classes, **rest)
        self.weight = nn.Parameter(torch.ones(()))

    @override
    def heatmap_counts(self) -> dict[str, int]:
        return {self.class_name(index): count for index, count in enumerate(self.options.heatmaps) if count}

    @override
    def explain_batch(self, images: Tensor, target: Target) -> Explanation:
        raise AssertionError("no image is explained here")


@pytest.fixture
def named(network: nn.Module) -> NamedExplainer:
    return NamedExplainer(FrozenBackbone(network), classes=list(COUNTS))


@pytest.fixture
def folder(named: NamedExplainer, tmp_path: Path) -> Path:
    """Holds an explainer whose heatmaps have no names yet."""
    named.save(tmp_path / "explainer")
    return tmp_path / "explainer"


def write_by_hand(folder: Path, **names: list[str]) -> str:
    text = "# mine\n" + yaml.safe_dump({"bee & co: <b>": names.get("bee", ["", ""]), "ant": names["ant"]})
    (folder / NAMES_NAME).write_text(text, encoding="utf-8")
    return text


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob(f"{NAMES_NAME}*"))


def test_an_exported_folder_has_a_file_to_write_names_into(folder: Path) -> None:
    text = (folder / NAMES_NAME).read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert "write a name" in text
    assert yaml.safe_load(text) == without_names(COUNTS)
    assert read_names(folder / NAMES_NAME, COUNTS) == without_names(COUNTS)


def test_an_explainer_without_fixed_heatmaps_has_none(network: nn.Module, tmp_path: Path) -> None:
    NamedExplainer(FrozenBackbone(network), NamedOptions(heatmaps=())).save(tmp_path / "explainer")
    assert files(tmp_path / "explainer") == []


def test_loaded_names_take_the_place_of_numbers(folder: Path, network: nn.Module) -> None:
    write_by_hand(folder, ant=["red crown", "", "  two\n words "])
    loaded = vitrine.load(folder, backbone=network)
    assert loaded.heatmap_names["ant"] == ["red crown", "", "two words"]
    assert [loaded.heatmap_name(0, number, f"#{number}") for number in range(4)] == [
        "red crown",
        "#1",
        "two words",
        "#3",
    ]
    assert loaded.heatmap_name(1, 0, "default") == "default"
    assert loaded.heatmap_name(2, 0, "a class without heatmaps") == "a class without heatmaps"


TEXTS = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=12).map(
    lambda text: " ".join(text.split())
)


@given(st.dictionaries(TEXTS, st.lists(TEXTS, max_size=4), max_size=4))
@settings(max_examples=60)
def test_whatever_is_written_is_read(names: Names) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        path = Path(place, NAMES_NAME)
        write_names(path, names)
        assert read_names(path, {name: len(given) for name, given in names.items()}) == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cat: [leg]", "names.yaml has names for 'cat', which is no explained class; classes: 'ant', 'bee & co: <b>'."),
        ("ant: [a, b]", "names.yaml has 2 names for 'ant', which has 3 heatmaps; give a line for each"),
        ("ant: [a, b", "names.yaml is not valid YAML: "),
        ("ant: 2020-13-45", "names.yaml is not valid YAML: month"),
        pytest.param("[" * 5000, "names.yaml is not valid YAML of names: it is nested too deeply", id="deep"),
        ("- a", "names.yaml must hold class names, each with a list of names, got a list."),
        ("ant: red crown", "names.yaml: 'ant' must have a list of names, one a line after a dash, got 'red crown'."),
        ("ant: [a, 3, b]", "names.yaml: 'ant' has the name 3, which is not text; write it in quotes."),
        ("ant: [a, b, c: d]", "names.yaml: 'ant' has the name {'c': 'd'}, which is not text"),
    ],
)
def test_a_file_that_does_not_fit_is_told_in_one_sentence(
    text: str, message: str, folder: Path, network: nn.Module
) -> None:
    (folder / NAMES_NAME).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared in full
        vitrine.load(folder, backbone=network)
    assert str(caught.value).startswith(f"{folder}/{message}")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text(folder: Path) -> None:
    (folder / NAMES_NAME).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"names\.yaml is not valid YAML"):
        read_names(folder / NAMES_NAME, COUNTS)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"names\.yaml does not exist; give a file of names"):
        read_names(tmp_path / NAMES_NAME, COUNTS)


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "ant:\n-\n-\n- ~\n"])
def test_what_is_left_empty_has_no_name(text: str, tmp_path: Path) -> None:
    (tmp_path / NAMES_NAME).write_text(text)
    assert read_names(tmp_path / NAMES_NAME, COUNTS) == without_names(COUNTS)


def test_names_are_carried_over_byte_by_byte(folder: Path, named: NamedExplainer) -> None:
    text = write_by_hand(folder, ant=["a", "b", ""])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        named.save(folder)
    assert (folder / NAMES_NAME).read_text(encoding="utf-8") == text
    assert files(folder) == [NAMES_NAME]


def test_names_of_other_heads_are_carried_over_with_a_warning(folder: Path, named: NamedExplainer) -> None:
    write_by_hand(folder, ant=["a", "b", ""])
    named.weight.data += 1
    with pytest.warns(UserWarning, match=r"names\.yaml was written for other heads than those saved now"):
        named.save(folder)
    assert read_names(folder / NAMES_NAME, COUNTS)["ant"] == ["a", "b", ""]


def test_a_loaded_explainer_takes_its_names_along(folder: Path, network: nn.Module, tmp_path: Path) -> None:
    write_by_hand(folder, ant=["a", "b", ""])
    vitrine.load(folder, backbone=network).save(tmp_path / "elsewhere")
    assert read_names(tmp_path / "elsewhere" / NAMES_NAME, COUNTS)["ant"] == ["a", "b", ""]


def test_own_names_go_before_those_in_the_folder_which_are_kept_beside(folder: Path, named: NamedExplainer) -> None:
    text = write_by_hand(folder, ant=["a", "b", ""])
    named.heatmap_names = {"ant": ["", "mine", "new"]}
    with pytest.warns(UserWarning, match=r"names.yaml does not fit .* it is kept as .*names\.yaml\.old\.$"):
        named.save(folder)
    assert read_names(folder / NAMES_NAME, COUNTS)["ant"] == ["a", "mine", "new"]
    assert (folder / f"{NAMES_NAME}.old").read_text(encoding="utf-8") == text


@pytest.mark.parametrize("heatmaps", [(2, 2), (0, 2), ()])
def test_names_that_do_not_fit_are_kept_beside(heatmaps: tuple[int, ...], folder: Path, network: nn.Module) -> None:
    text = write_by_hand(folder, ant=["a", "b", "c"], bee=["yellow", ""])
    other = NamedExplainer(FrozenBackbone(network), NamedOptions(heatmaps), classes=list(COUNTS))
    with pytest.warns(UserWarning, match="it is kept as"):
        other.save(folder)
    assert (folder / f"{NAMES_NAME}.old").read_text(encoding="utf-8") == text
    if heatmaps:
        assert read_names(folder / NAMES_NAME, other.heatmap_counts())["bee & co: <b>"] == ["yellow", ""]
    else:
        assert files(folder) == [f"{NAMES_NAME}.old"]


def test_an_unreadable_file_is_kept_beside(folder: Path, named: NamedExplainer) -> None:
    (folder / NAMES_NAME).write_text("ant: [a, b", encoding="utf-8")
    with pytest.warns(UserWarning, match="it is kept as"):
        named.save(folder)
    assert (folder / f"{NAMES_NAME}.old").read_text(encoding="utf-8") == "ant: [a, b"
    assert read_names(folder / NAMES_NAME, COUNTS) == without_names(COUNTS)


def test_nothing_kept_is_ever_written_over(folder: Path, named: NamedExplainer) -> None:
    texts = ["ant: [a", "ant: [b", "ant: [a", "ant: [c"]
    for text in texts:
        (folder / NAMES_NAME).write_text(text, encoding="utf-8")
        with pytest.warns(UserWarning, match="it is kept as"):
            named.save(folder)
    kept = [(folder / name).read_text(encoding="utf-8") for name in files(folder) if name != NAMES_NAME]
    assert kept == ["ant: [a", "ant: [b", "ant: [c"]


@given(st.data())
@settings(max_examples=60)
def test_joined_names_are_the_own_else_the_earlier(data: st.DataObject) -> None:
    counts = data.draw(st.dictionaries(st.sampled_from("abc"), st.integers(0, 3)))
    some = st.dictionaries(st.sampled_from("abcd"), st.lists(st.sampled_from(["", "x", "y"]), max_size=3))
    own, earlier = data.draw(some), data.draw(some)
    found = joined(own, earlier, counts)
    assert {name: len(texts) for name, texts in found.items()} == counts
    for name, texts in found.items():
        for number, text in enumerate(texts):
            fitting = [source[name][number] for source in (own, earlier) if len(source.get(name, ())) == counts[name]]
            assert text == next((candidate for candidate in fitting if candidate), "")


def test_lists_without_a_name_need_not_fit(tmp_path: Path) -> None:
    """Such as the file that an explainer with other heads left: nobody wrote anything into it."""
    (tmp_path / NAMES_NAME).write_text("ant: ['', '']\ncat: ['']\n'bee & co: <b>': [leg, '']\n")
    assert read_names(tmp_path / NAMES_NAME, COUNTS) == {"ant": ["", "", ""], "bee & co: <b>": ["leg", ""]}
