"""Class matching: which logit of a network each class of a data set is, by name, by index, or as a person says."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from vitrine.core.near_names import near_names

ClassMap = Mapping[str, str | int] | Literal["by_name", "by_index", "ignore"] | None
"""How labels become a network's: classes of the data set (names, or indices as digits) to those of the network (names or
indices), the rest by name; all by name; indices as they are; or no labels at all, as of a set without classes."""

WNID = re.compile(r"\bn\d{8}\b")
IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class NetworkClasses:
    """What is known of a network's logits.

    Args:
        count: how many there are.
        aliases: the names of each, the one to show first; None where they are not known.
        is_assumed: whether nothing but the network's kind and their number speaks for the names, which then count only where
            a match by name is asked for.
    """

    count: int
    aliases: Sequence[Sequence[str]] | None
    is_assumed: bool = False

    def names(self) -> list[str]:
        """A name for each logit, ``class 3`` where it has none."""
        if self.aliases is None:
            return [f"class {index}" for index in range(self.count)]
        return [aliases[0] for aliases in self.aliases]


@dataclass(frozen=True)
class ClassMatch:
    """What the classes of a data set are to a network.

    Args:
        indices: the logit of each class of the data set.
        names: of the network's classes, as they are shown.
        how: in words, for a table.
        ignored: whether labels are left out.
        by_number_alone: whether nothing but their number says that the classes are the same.
    """

    indices: tuple[int, ...]
    names: tuple[str, ...]
    how: str
    ignored: bool = False
    by_number_alone: bool = False

    @property
    def keeps_labels(self) -> bool:
        """Whether labels are the network's as they stand."""
        return not self.ignored and self.indices == tuple(range(len(self.indices)))


def match_classes(
    classes: Sequence[str], network: NetworkClasses, class_map: ClassMap, remedy: str = "class_map: by_name"
) -> ClassMatch:
    """Matches the classes of a data set with those of a network.

    Without a map they have to agree as they stand: by name, or, where the network's names are not known, by number.

    Args:
        classes: of the data set, in the order of the labels.
        network: the network's.
        class_map: how they become the network's.
        remedy: the option that a message names for a match by name.

    Raises:
        ValueError: where they do not agree, or a class in the map is not known.
    """
    if class_map == "ignore":
        return ClassMatch((), tuple(network.names()), "labels are left out", ignored=True)
    if class_map == "by_index":
        return _by_index(classes, network)
    if isinstance(class_map, Mapping):
        return _mapped(classes, network, class_map)
    if network.aliases is None or (network.is_assumed and class_map is None):
        return _by_number(classes, network, class_map)
    indices = _found_by_name(classes, network.aliases, by_name=class_map == "by_name")
    if class_map is None:
        _check_order(classes, network, indices, remedy)
    same = indices == tuple(range(network.count))
    return _match(classes, network, indices, "equal by name" if same else "matched by name")


def _match(classes: Sequence[str], network: NetworkClasses, indices: tuple[int, ...], how: str) -> ClassMatch:
    twice = [index for index, count in Counter(indices).items() if count > 1]
    if twice:
        both = [name for name, index in zip(classes, indices, strict=True) if index == twice[0]]
        raise ValueError(
            f"The data set's classes {both[0]!r} and {both[1]!r} are both class {twice[0]} of the backbone; give"
            " each one of its own in model.init_args.class_map."
        )
    names = network.names()
    for name, index in zip(classes, indices, strict=True):
        names[index] = name
    return ClassMatch(indices, tuple(names), how)


def _by_index(classes: Sequence[str], network: NetworkClasses) -> ClassMatch:
    if len(classes) > network.count:
        raise ValueError(
            f"class_map: by_index takes labels as they are, but the data set has {len(classes)} classes and the backbone"
            f" {network.count} logits; give another class_map, or a backbone that was trained on this data set."
        )
    return _match(classes, network, tuple(range(len(classes))), "by index")


def _by_number(classes: Sequence[str], network: NetworkClasses, class_map: ClassMap) -> ClassMatch:
    """Of a network that knows no names."""
    if class_map == "by_name":
        raise ValueError(
            "class_map: by_name needs the names of the backbone's classes, which its weights do not record; give"
            " model.init_args.class_map as {CLASS OF THE DATA SET: INDEX OF THE LOGIT}, or by_index."
        )
    if len(classes) != network.count:
        names = "whose names are not known" if network.aliases is None else "which may be ImageNet's"
        by_name = "" if network.aliases is None else "set model.init_args.class_map: by_name if they are, "
        raise ValueError(
            f"The data set has {len(classes)} classes, but the backbone has {network.count} logits, {names}; {by_name}give a"
            " backbone that was trained on this data set, or say in model.init_args.class_map which logit each class is:"
            " {CLASS: INDEX}, or by_index where labels are indices of the logits."
        )
    match = _match(classes, network, tuple(range(network.count)), "equal by number, names unknown")
    return replace(match, by_number_alone=True)


def _mapped(classes: Sequence[str], network: NetworkClasses, class_map: Mapping[str, str | int]) -> ClassMatch:
    given = {_index_of(key, classes, "the data set"): value for key, value in class_map.items()}
    names = network.names()
    indices = {place: _index_of(value, names, "the backbone") for place, value in given.items()}
    rest = [place for place in range(len(classes)) if place not in indices]
    if rest and network.aliases is None:
        raise ValueError(
            f"class_map says nothing of the data set's class {classes[rest[0]]!r}, and the names of the backbone's classes"
            " are not known; give the index of its logit too."
        )
    if rest and network.aliases is not None:
        found = _found_by_name([classes[place] for place in rest], network.aliases, by_name=True)
        indices |= dict(zip(rest, found, strict=True))
    return _match(classes, network, tuple(indices[place] for place in range(len(classes))), "mapped by class_map")


def _index_of(key: str | int, names: Sequence[str], whose: str) -> int:
    """Index of a class by its name, or by the index itself."""
    if key in names:
        return list(names).index(str(key))
    if str(key).isdecimal() and int(key) < len(names):
        return int(key)
    near = ", ".join(near_names(str(key), names, 3))
    raise ValueError(f"class_map names {key!r}, which is no class of {whose}; near names: {near}.")


def _check_order(classes: Sequence[str], network: NetworkClasses, indices: tuple[int, ...], remedy: str) -> None:
    moved = next((place for place, index in enumerate(indices) if place != index), None)
    if moved is None:
        return
    what = (
        "stand in another order than the backbone's"
        if len(classes) == network.count
        else f"are {len(classes)} of the backbone's {network.count}, at other indices"
    )
    raise ValueError(
        f"The data set's classes {what}: {classes[moved]!r} is label {moved}, and class {indices[moved]} of the backbone; set"
        f" model.init_args.{remedy} to match them by name, or class_map: by_index where labels are the backbone's indices."
    )


# By name


def normalized(name: str) -> str:
    """A name without what does not matter: case, underscores, hyphens, apostrophes, and a WordNet id in parentheses."""
    words = re.sub(r"\(n\d{8}\)", "", name.casefold()).replace("_", " ").replace("-", " ").replace("'", "")
    return " ".join(words.split())


def _found_by_name(classes: Sequence[str], aliases: Sequence[Sequence[str]], *, by_name: bool) -> tuple[int, ...]:
    """The logit of each class.

    Names that two classes of the same set share ("crane" of ImageNet) say nothing; they are taken to be where they stand if
    all others are.
    """
    if list(classes) == [names[0] for names in aliases]:
        return tuple(range(len(classes)))
    known = _places(aliases)
    found = [_candidates(name, known) for name in classes]
    if len(classes) == len(aliases):
        ids = _wordnet_places(classes, aliases)
        if ids is not None:
            return ids
        short = [normalized(name) for name in classes]
        shared = Counter(short)
        settled = [place in found[place] for place in range(len(found)) if found[place] and shared[short[place]] == 1]
        if all(settled) and _few_left(len(classes) - len(settled), len(classes)):
            return tuple(range(len(classes)))
    for name, places in zip(classes, found, strict=True):
        if len(places) != 1:
            raise ValueError(_not_one(name, places, aliases, by_name=by_name))
    return tuple(places[0] for places in found)


def _few_left(count: int, classes: int) -> bool:
    """Whether so few classes are without a name of their own that the order of the others speaks for them."""
    return count <= classes // 50


def candidates_by_name(classes: Sequence[str], others: Sequence[str]) -> list[list[int]]:
    """For each class the places of those among others that have its name, see `normalized`; often one, or none.

    Example:
        >>> candidates_by_name(["House_Sparrow", "owl"], ["crane", "house sparrow", "crane"])
        [[1], []]
    """
    known = _places([(name,) for name in others])
    return [_candidates(name, known) for name in classes]


def _places(aliases: Sequence[Sequence[str]]) -> Mapping[str, list[int]]:
    """Where each name stands: as it is written, and normalised; an alias only where no class has it as its first name."""
    places: defaultdict[str, list[int]] = defaultdict(list)
    for first in (True, False):
        known = set(places)
        for index, names in enumerate(aliases):
            for name in names[:1] if first else names[1:]:
                for key in {f"={name}", normalized(name), *(normalized(part) for part in name.split(","))}:
                    if key not in known and index not in places[key]:
                        places[key].append(index)
    return places


def _candidates(name: str, places: Mapping[str, list[int]]) -> list[int]:
    """Indices of the logits that a class may be, by the first of its names that is known."""
    wnid = WNID.search(name)
    for key in (wnid and f"={wnid[0]}", f"={name}", normalized(name), normalized(name.partition(",")[0])):
        if key and places.get(key):
            return places[key]
    return []


def _wordnet_places(classes: Sequence[str], aliases: Sequence[Sequence[str]]) -> tuple[int, ...] | None:
    """Places of the thousand classes of ImageNet named by their WordNet ids alone, in whose order the networks are."""
    is_imagenet = len(aliases) == IMAGENET_CLASSES and normalized(aliases[0][0]) == "tench"
    if not is_imagenet or not all(WNID.fullmatch(name) for name in classes) or len(set(classes)) != len(classes):
        return None
    order = {name: place for place, name in enumerate(sorted(classes))}
    return tuple(order[name] for name in classes)


def _not_one(name: str, places: Sequence[int], aliases: Sequence[Sequence[str]], *, by_name: bool) -> str:
    if places:
        which = " and ".join(map(str, places))
        return (
            f"The data set's class {name!r} may be any of the backbone's classes {which}; say which in"
            f" model.init_args.class_map: {{{name!r}: INDEX}}."
        )
    near = ", ".join(near_names(name, (names[0] for names in aliases), 3))
    rest = "" if by_name else " or, where labels are the backbone's indices already, class_map: by_index"
    return (
        f"The data set's class {name!r} is none of the backbone's {len(aliases)} classes (near names: {near}); say which"
        f" it is in model.init_args.class_map: {{{name!r}: NAME OR INDEX}}{rest}, or give a backbone that was trained on this"
        " data set."
    )
