"""Classes of the data set beside those of the backbone, compared before anything is computed."""

from collections.abc import Sequence

from pytorch_lightning import LightningDataModule
from torch import nn

from vitrine.backbones.class_names import assumed_classes, network_classes
from vitrine.backbones.classifier_layer import classifier_layer
from vitrine.backbones.networks import BackboneOptions
from vitrine.data.class_labels import LabelTranslation
from vitrine.data.class_matching import ClassMap, ClassMatch, NetworkClasses, match_classes, normalized
from vitrine.data.contracts import ExplanationData
from vitrine.explainers import Explainer


def classes_of_network(explainer: Explainer, known: Sequence[str] = ()) -> NetworkClasses | None:
    """What is known of the explained network's logits; None for an explainer that does not say how many there are.

    Args:
        explainer: of the network.
        known: names of the logits, as an explainer that was exported has them, where the weights record none.
    """
    count = getattr(explainer, "num_classes", None)
    if not isinstance(count, int):
        return None
    backbone, unknown = explainer.backbone.options, NetworkClasses(count, None)
    names = network_classes(backbone, count)
    if names is None and len(known) == count and list(known) != unknown.names():
        names = [(name,) for name in known]
    if names is None:
        return NetworkClasses(count, assumed_classes(backbone, count), is_assumed=True)
    return NetworkClasses(count, names)


def matched(
    data: ExplanationData, network: NetworkClasses, class_map: ClassMap, *, labels_needed: bool, by_name: str
) -> ClassMatch:
    """Matches the data set's classes with the network's.

    Args:
        data: the datamodule, with its own labels.
        network: the explained network's classes.
        class_map: how labels become the network's.
        labels_needed: whether the run cannot do without labels.
        by_name: the option that asks for a match by name, as a message calls it.

    Raises:
        ValueError: where they do not agree, with what to set.
    """
    try:
        return match_classes(data.classes, network, class_map, by_name)
    except ValueError as error:
        if labels_needed:
            raise
        raise ValueError(f"{str(error).removesuffix('.')}; class_map: ignore leaves the labels out.") from error


def check_same_classes(saved: Sequence[str], classes: Sequence[str], checkpoint: str) -> None:
    """Checks that a checkpoint is of the data set's classes, where nothing but their number speaks for it.

    Args:
        saved: names of the checkpoint's classes, by logit; empty where it has none.
        classes: those of the data set, by label.
        checkpoint: its name, for messages.

    Raises:
        ValueError: where they are others, or in another order.
    """
    if not saved or not classes or [*map(normalized, saved)] == [*map(normalized, classes)]:
        return
    pairs = enumerate(zip(saved, classes, strict=False))
    place = next((number for number, pair in pairs if normalized(pair[0]) != normalized(pair[1])), None)
    told = (
        f"it is of {len(saved)} classes, and the data set of {len(classes)}"
        if place is None
        else f"its class {place} is {saved[place]!r}, and {classes[place]!r} is label {place} of the data set"
    )
    raise ValueError(
        f"{checkpoint} was trained on other classes: {told}; give a data set with the same classes in the same order, or a"
        " checkpoint of this one."
    )


def translation_of(data: ExplanationData, match: ClassMatch, count: int) -> LabelTranslation | None:
    """What makes the data set's labels the network's; None where they are the same.

    Raises:
        ValueError: where the datamodule changes batches in the hook that translates.
    """
    if match.keeps_labels and (not data.multi_label or len(match.indices) == count):
        return None
    own = getattr(type(data), "on_before_batch_transfer", None)
    if own not in {None, LightningDataModule.on_before_batch_transfer}:
        raise ValueError(
            f"{type(data).__name__}.on_before_batch_transfer takes the place of the hook that translates labels; use"
            " on_after_batch_transfer for what it does."
        )
    return LabelTranslation(match, count)


def check_explained(explained: Sequence[int], match: ClassMatch | None, count: int) -> None:
    """Checks that each class with a head to be fitted has images.

    Args:
        explained: classes of the network.
        match: of the data set's classes; None where labels are the network's without a comparison.
        count: number of the data set's classes.

    Raises:
        ValueError: for a class that the data set lacks.
    """
    known = range(count) if match is None else match.indices
    lacking = next((index for index in explained if index not in set(known)), None)
    if lacking is not None:
        raise ValueError(
            f"The backbone's class {lacking} is to be explained, but the data set has {count} classes and not this one; give"
            " a backbone that was trained on it, or set explained_classes to those of its classes, or to by_name."
        )


def check_classes(classes: Sequence[str], backbone: BackboneOptions, network: nn.Module) -> None:
    """Checks that a classifier that is tested as its weights are knows the data set's classes.

    Args:
        classes: of the data set.
        backbone: the network and its weights.
        network: as built of them.

    Raises:
        ValueError: where it was trained on others.
    """
    layer = network.get_submodule(classifier_layer(network))
    count = getattr(layer, "out_features", None) or getattr(layer, "out_channels", None)
    if count is None:
        return
    try:
        same = match_classes(classes, NetworkClasses(count, network_classes(backbone, count)), None)
    except ValueError as error:
        told, _, _ = str(error).partition("; ")
        raise ValueError(
            f"{told}; fit the classifier to this data set, or give --ckpt_path of one that was."
        ) from error
    if len(same.indices) != count:
        raise ValueError(
            f"The data set has {len(classes)} of the network's {count} classes; fit the classifier to this data set, or give"
            " --ckpt_path of one that was."
        )
