"""Which logit each class of a data set is."""

from collections.abc import Sequence
from typing import Any

import pytest
import torchvision
from hypothesis import given
from hypothesis import strategies as st

from vitrine.backbones.class_names import imagenet_aliases, network_classes
from vitrine.backbones.networks import BackboneOptions
from vitrine.data.class_matching import NetworkClasses, match_classes, normalized

PETS = NetworkClasses(4, [("Siamese cat", "Siamese"), ("tabby",), ("pug", "pug-dog"), ("husky",)])
UNKNOWN = NetworkClasses(4, None)


def imagenet() -> NetworkClasses:
    return NetworkClasses(1000, network_classes(BackboneOptions("resnet18", "DEFAULT"), 1000))


@pytest.mark.parametrize(
    ("network", "classes", "how"),
    [
        (PETS, ["Siamese cat", "tabby", "pug", "husky"], "equal by name"),
        (PETS, ["siamese_cat", "Tabby", "PUG", "husky"], "equal by name"),
        (PETS, ["siamese", "tabby, tabby cat", "pug_dog", "Husky"], "equal by name"),
        (UNKNOWN, list("abcd"), "equal by number, names unknown"),
    ],
)
def test_the_same_classes_in_the_same_order_agree(network: NetworkClasses, classes: list[str], how: str) -> None:
    match = match_classes(classes, network, None)
    assert (match.indices, match.names, match.how) == ((0, 1, 2, 3), tuple(classes), how)
    assert match.keeps_labels


def test_the_first_classes_of_a_network_keep_their_labels() -> None:
    match = match_classes(["Siamese cat", "tabby"], PETS, None)
    assert match.keeps_labels
    assert match.names == ("Siamese cat", "tabby", "pug", "husky")


@pytest.mark.parametrize(
    ("network", "classes", "class_map", "told"),
    [
        (
            PETS,
            ["tabby", "pug"],
            None,
            r"are 2 of the backbone's 4, at other indices: 'tabby' is label 0, and class 1 of",
        ),
        (PETS, ["tabby", "pug"], None, r"set model\.init_args\.class_map: by_name"),
        (PETS, ["tabby", "husky", "pug", "Siamese"], None, "stand in another order than the backbone's: 'tabby'"),
        (
            PETS,
            ["Siamese cat", "tabby", "pug", "wolf"],
            None,
            r"'wolf' is none of .*class_map: \{'wolf': NAME OR INDEX\}",
        ),
        (PETS, ["wolf"], "by_name", "'wolf' is none of the backbone's 4 classes"),
        (UNKNOWN, list("abc"), None, "has 3 classes, but the backbone has 4 logits, .*: by_index|by_index"),
        (UNKNOWN, list("abcde"), "by_index", "has 5 classes and the backbone 4 logits"),
        (UNKNOWN, list("abc"), "by_name", "class_map: by_name needs the names of the backbone's classes"),
        (UNKNOWN, list("abc"), {"a": 0}, "says nothing of the data set's class 'b'"),
        (PETS, ["tabby"], {"taby": 0}, "'taby', which is no class of the data set; near names: tabby"),
        (PETS, ["tabby"], {"tabby": "pugg"}, "'pugg', which is no class of the backbone; near names: pug"),
        (PETS, ["tabby"], {"tabby": 4}, "4, which is no class of the backbone"),
        (PETS, ["tabby", "wolf"], {"wolf": "tabby"}, "'tabby' and 'wolf' are both class 1 of the backbone"),
        (NetworkClasses(2, [("Cardigan",), ("cardigan",)]), ["CARDIGAN"], "by_name", "may be any of .* 0 and 1"),
    ],
)
def test_what_does_not_agree_is_refused(
    network: NetworkClasses, classes: Sequence[str], class_map: Any, told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        match_classes(classes, network, class_map)


@pytest.mark.parametrize(
    ("network", "classes", "class_map", "indices"),
    [
        (PETS, ["husky", "tabby"], "by_name", (3, 1)),
        (PETS, ["wolf", "tabby"], {"wolf": "husky"}, (3, 1)),
        (PETS, ["wolf", "tabby"], {"0": 3, "1": "2"}, (3, 2)),
        (UNKNOWN, ["wolf", "tabby"], {"wolf": 3, "tabby": 0}, (3, 0)),
        (UNKNOWN, ["wolf", "tabby"], "by_index", (0, 1)),
        (PETS, ["1", "0"], {"1": 3, "0": 2}, (3, 2)),  # names that look like indices are names
    ],
)
def test_maps(network: NetworkClasses, classes: list[str], class_map: Any, indices: tuple[int, ...]) -> None:
    match = match_classes(classes, network, class_map)
    assert match.indices == indices
    assert [match.names[index] for index in indices] == classes


def test_ignored_classes_leave_the_network_its_names() -> None:
    match = match_classes(["wolf"], PETS, "ignore")
    assert match.ignored
    assert not match.keeps_labels
    assert match.names[1] == "tabby"
    assert match_classes(["wolf"], UNKNOWN, "ignore").names[1] == "class 1"


@given(order=st.permutations(range(4)), count=st.integers(1, 4))
def test_by_name_is_the_position_of_each_name(order: list[int], count: int) -> None:
    names = [PETS.names()[index] for index in order[:count]]
    assert match_classes(names, PETS, "by_name").indices == tuple(order[:count])


def test_ten_classes_of_imagenet() -> None:
    classes = ["goldfish, Carassius auratus", "great_white_shark", "cardigan", "crane bird"]
    assert match_classes(classes, imagenet(), "by_name").indices == (1, 2, 474, 134)


def test_imagenet_by_its_official_words_is_torchvisions() -> None:
    """As the converter names classes: the first of its words, and the WordNet id where two share it."""
    pytest.importorskip("timm")
    table = imagenet_aliases()
    assert table is not None
    names = [aliases[0] for aliases in table]
    assert match_classes(names, imagenet(), None).keeps_labels
    swapped = [names[1], names[0], *names[2:]]
    with pytest.raises(ValueError, match="in another order"):
        match_classes(swapped, imagenet(), None)


def test_wordnet_ids_stand_for_classes() -> None:
    pytest.importorskip("timm")
    assert match_classes(["n01443537", "n15075141"], imagenet(), "by_name").indices == (1, 999)


def test_a_thousand_wordnet_ids_are_in_the_order_of_the_networks_without_any_table() -> None:
    categories = torchvision.models.ResNet18_Weights.DEFAULT.meta["categories"]
    network = NetworkClasses(1000, [(name,) for name in categories])
    wnids = [f"n{number:08d}" for number in range(1000)]
    assert match_classes(wnids, network, None).keeps_labels
    assert match_classes(wnids[::-1], network, "by_name").indices == tuple(range(999, -1, -1))


def test_normalized_names() -> None:
    assert normalized("Crane (n02012849)") == normalized("crane")
    assert normalized("pug-dog") == normalized(" Pug_Dog")


def test_assumed_names_count_only_where_a_match_by_name_is_asked_for() -> None:
    assumed = NetworkClasses(3, [("ant",), ("bee",), ("cow",)], is_assumed=True)
    same = match_classes(["x", "y", "z"], assumed, None)
    assert same.by_number_alone
    assert same.names == ("x", "y", "z")
    assert match_classes(["cow", "ant"], assumed, "by_name").indices == (2, 0)
    assert match_classes(["cow", "b"], assumed, {"b": "bee"}).indices == (2, 1)
    with pytest.raises(ValueError, match="class_map: by_name if they are"):
        match_classes(["cow", "ant"], assumed, None)
