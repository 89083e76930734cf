import pytest

from vitrine.data.class_matching import NetworkClasses
from vitrine.explain.labels import folder_labels

BIRDS = NetworkClasses(3, [("black swan",), ("goose",), ("crane", "n02012849")])
NAMELESS = NetworkClasses(3, None)


def test_folders_that_name_classes_are_labels_and_others_are_not_known() -> None:
    labels = folder_labels(["Black_Swan", "holiday", "n02012849"], BIRDS, "auto")
    assert labels.classes == {"Black_Swan": 0, "n02012849": 2}
    assert labels.of("holiday") is None
    assert labels.told == "of 2 of 3 folders; not known of 1, such as holiday"


@pytest.mark.parametrize(("folders", "network"), [(["holiday"], BIRDS), (["goose"], NAMELESS), ([], BIRDS)])
def test_without_matching_folders_nothing_is_labelled(folders: list[str], network: NetworkClasses) -> None:
    labels = folder_labels(folders, network, "auto")
    assert not labels.classes
    assert labels.told.startswith("none")


def test_none_leaves_matching_folders_out() -> None:
    assert folder_labels(["goose"], BIRDS, "none").of("goose") is None


def test_a_map_gives_classes_by_name_or_index_before_names_are_compared() -> None:
    labels = folder_labels(["a", "b", "goose"], BIRDS, "auto", ["a=crane", "b=0"])
    assert labels.classes == {"a": 2, "b": 0, "goose": 1}
    assert folder_labels(["a"], NAMELESS, "auto", ["a=2"]).of("a") == 2
    assert folder_labels(["a"], BIRDS, "folders", ["a=2"]).of("a") == 2


@pytest.mark.parametrize(
    ("folders", "how", "class_map", "told"),
    [
        (["goose", "holiday"], "folders", [], "holiday"),
        ([], "folders", [], "no folders"),
        (["a"], "auto", ["b=goose"], "names no folder of a"),
        (["a"], "auto", ["a"], "FOLDER=CLASS"),
        (["a"], "auto", ["a=swan"], "near names: black swan"),
        (["a"], "auto", ["a=3"], "no class of the backbone"),
    ],
)
def test_what_does_not_fit_is_a_sentence(folders: list[str], how: str, class_map: list[str], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        folder_labels(folders, BIRDS, how, class_map)  # type: ignore[arg-type]
