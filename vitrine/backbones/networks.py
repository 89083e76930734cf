"""Builds a network by its name: from torchvision, timm, a folder of Hugging Face, or a class of your own."""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torchvision
from torch import Tensor, nn

from vitrine.backbones.class_embeddings import BIAS, EMBEDDINGS, SCALE
from vitrine.backbones.classifier_layer import replace_classifier
from vitrine.backbones.hugging_face import PREFIX, build_hugging_face, renamed_state
from vitrine.backbones.state_readings import Reading, find_reading, take_over
from vitrine.backbones.weight_files import is_weight_file, read_weight_file, recorded_num_classes
from vitrine.backbones.zero_shot import ZeroShotClassifier, classes_for, classifier_of
from vitrine.core.class_paths import class_named
from vitrine.core.error_texts import first_line
from vitrine.core.near_names import near_names
from vitrine.core.options import Count, CountOrZero, Options

MOVED_CLASSES = {"vitrine.an8flower.network:FlowerNet": "vitrine.data.an8flower.network:FlowerNet"}
"""Today's names of networks that explainers and configurations saved earlier still name."""
PACKAGE_NETWORKS = frozenset({*MOVED_CLASSES, *MOVED_CLASSES.values()})
"""Names of the networks that come with this package."""
PACKAGE = Path(__file__).resolve().parent.parent
"""This package's folder."""
READS_WEIGHTS = {"weights", "weights_backbone", "checkpoint_path", "cache_dir"}
"""Arguments of torchvision's and timm's networks that read files or download, as those do that begin with ``pretrained``."""


@dataclass(frozen=True)
class BackboneOptions(Options):
    """Which network, and which weights.

    Args:
        name: a torchvision name (``resnet18``), a timm name (``timm:resnet18d``), a folder of Hugging Face
            (``hf:FOLDER``, with ``config.json`` and ``model.safetensors``), or a class of your own, in a module
            (``package.module:Class``) or in a file (``model.py:MyNet``), which inherits ``torch.nn.Module``.
        weights: a torchvision entry (``IMAGENET1K_V1``, ``DEFAULT``), ``pretrained`` for timm, or a local file that holds a
            state dict (``.safetensors``, ``.pth``, ``.pt``, ``.bin``, ``.ckpt``, ``.pth.tar``), under any prefix or entry
            (`find_reading`); random weights without it, and those of the folder for ``hf:FOLDER``.
        num_classes: number of logits; without it as many as the weight file has, else the network's own default.
        arguments: further keyword arguments of the network's constructor, or entries of a folder's configuration; with
            ``class_embeddings``, a file of text embeddings, an image tower of timm or of a folder, such as CLIP's, becomes a
            zero-shot classifier (`ZeroShotClassifier`), with ``logit_scale`` and ``logit_bias`` where they are to be others.
        output: which part of the network's output holds the logits, where it is no tensor: a key, an attribute, or a place
            in a tuple (see `class_logits`).
    """

    name: str = "resnet18"
    weights: str | None = None
    num_classes: Count | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    output: str | CountOrZero | None = None

    @property
    def weight_file(self) -> Path | None:
        """The local file that ``weights`` names, if it names one; one of this package's is found from any folder."""
        if not self.weights or not is_weight_file(self.weights):
            return None
        path = Path(self.weights)
        own = PACKAGE.parent / path
        return own if path.parts[0] == PACKAGE.name and not path.is_file() and own.is_file() else path

    @property
    def is_own(self) -> bool:
        """Whether the name is that of a class."""
        return ":" in self.name and not self.name.startswith(("timm:", PREFIX))

    @property
    def folder(self) -> Path | None:
        """The folder of Hugging Face that ``name`` names, if it names one."""
        return Path(self.name.removeprefix(PREFIX)) if self.name.startswith(PREFIX) else None

    @property
    def is_zero_shot(self) -> bool:
        """Whether the network is an image tower with a head of text embeddings."""
        return EMBEDDINGS in self.arguments and self.name.startswith(("timm:", PREFIX))

    @property
    def has_random_weights(self) -> bool:
        """Whether the weights are those that a constructor draws; a class of your own may read weights itself."""
        return self.weights is None and self.folder is None and (not self.is_own or self._differs_by_seed)

    @property
    def _differs_by_seed(self) -> bool:
        states = []
        for seed in range(2):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                states.append(build_network(self.name, None, self.num_classes, self.arguments).state_dict())
        return any(not torch.equal(value, states[1][name]) for name, value in states[0].items())


class Built(NamedTuple):
    """A network that was built by its name."""

    model: nn.Module
    num_classes: int | None
    """As asked for, or as the weight file has it; None where it is the network's own default."""


def build_network(
    name: str, weights: str | None = None, num_classes: int | None = None, arguments: Mapping[str, Any] | None = None
) -> nn.Module:
    """Builds a network by name and loads its weights; the arguments are those of `BackboneOptions`.

    Raises:
        ValueError: for an unknown name or table entry, one that is no ``nn.Module``, arguments that it does not take, or a
            state dict that does not fit.
        FileNotFoundError: where the weight file does not exist.
        ModuleNotFoundError: where timm is asked for and not installed.
    """
    return built(BackboneOptions(name, weights, num_classes, dict(arguments or {}))).model


def built(options: BackboneOptions) -> Built:
    """What `build_network` gives, with the number of logits that it was built for."""
    file = options.weight_file
    num_classes = options.num_classes or recorded_num_classes(file)
    if file is None:
        return _with_known_count(_build(options, num_classes), num_classes)
    content = read_weight_file(file)
    model = _build(options, num_classes)
    part, reading = _reading(content, model, file)
    if reading.num_classes is not None and options.num_classes is None and part is model:
        num_classes = reading.num_classes
        model = _build(options, num_classes)
        part, reading = _reading(content, model, file)
    take_over(part, reading, file)
    return _with_known_count(model, num_classes)


def _with_known_count(model: nn.Module, num_classes: int | None) -> Built:
    return Built(model, model.classifier.out_features if isinstance(model, ZeroShotClassifier) else num_classes)


def _reading(content: Mapping[str, Any], model: nn.Module, file: Path) -> tuple[nn.Module, Reading]:
    """The part of the network that a file is of, and how it is read: of a zero-shot classifier perhaps the tower alone."""
    tower = model.image_tower if isinstance(model, ZeroShotClassifier) and _head_size(content) is None else None
    part = model if tower is None else tower
    try:
        return part, find_reading(content, part, file)
    except ValueError:
        state = renamed_state(part, content)
        if state is None:
            raise
    return part, find_reading(state, part, file)


def _head_size(content: Mapping[str, Any]) -> tuple[int, int] | None:
    """Classes n and width d of a zero-shot head that a file holds; None where it holds none."""
    tower = any(name.startswith("image_tower.") for name in content)
    weight = content.get("classifier.weight") if tower else None
    return (int(weight.shape[0]), int(weight.shape[1])) if isinstance(weight, Tensor) and weight.ndim == 2 else None


def _build(options: BackboneOptions, num_classes: int | None) -> nn.Module:
    """The network, with weights of a table or a folder, or random ones."""
    if options.is_zero_shot:
        return _build_zero_shot(options, num_classes)
    return _build_by_name(options, dict(options.arguments), num_classes)


def _build_zero_shot(options: BackboneOptions, num_classes: int | None) -> nn.Module:
    """An image tower with a head of the class embeddings that the arguments name."""
    file = options.weight_file
    recorded = _head_size(read_weight_file(file)) if file and file.is_file() else None
    classes = classes_for(options.arguments, file, recorded)
    count, width = classes.embeddings.shape
    if num_classes not in {None, count}:
        raise ValueError(
            f"num_classes is {num_classes}, and {classes.source} holds {count} classes; leave num_classes out."
        )
    keywords = {key: value for key, value in options.arguments.items() if key not in {EMBEDDINGS, SCALE, BIAS}}
    if options.folder is not None:
        _refuse_entry(options)
        tower = build_hugging_face(options.name, file, keywords, None, is_tower=True)
    else:
        tower = _timm_tower(options, keywords, width)
    return classifier_of(tower, classes, options.name)


def _timm_tower(options: BackboneOptions, keywords: dict[str, Any], width: int) -> nn.Module:
    """A network of timm that gives embeddings of a width: by its projection as it was trained, or before its last layer."""
    projected = [width] if options.weight_file else []  # which the file then has to fit
    counts = [keywords.pop("num_classes")] if "num_classes" in keywords else [None, 0, *projected]
    found = []
    for count in counts:
        with torch.device("meta"):
            tower = _build_by_name(replace(options, weights=None), keywords, count)
        own = tower.num_classes or getattr(tower, "head_hidden_size", None) or tower.num_features
        if own == width:
            return _build_by_name(options, keywords, count)
        found.append(own)
    raise ValueError(
        f"arguments.{EMBEDDINGS} of network {options.name!r} has {width} numbers a class, and the network gives"
        f" {' or '.join(map(str, found))}; give embeddings by the text tower that it was trained with."
    )


def _refuse_entry(options: BackboneOptions) -> None:
    if options.weights is not None and options.weight_file is None:
        raise ValueError(
            f"weights {options.weights!r} of {options.name} must be a local file ending in .pth, .pt, .ckpt or .safetensors;"
            " without it they are the folder's."
        )


def _build_by_name(options: BackboneOptions, keywords: dict[str, Any], num_classes: int | None) -> nn.Module:
    """As the name's library builds it."""
    entry = None if options.weight_file else options.weights
    if options.is_own:
        return _build_own(options.name, entry, keywords, num_classes)
    if options.folder is not None:
        _refuse_entry(options)
        return build_hugging_face(options.name, options.weight_file, keywords, num_classes)
    for argument in keywords:
        if argument in READS_WEIGHTS or argument.startswith("pretrained"):
            raise ValueError(
                f"arguments.{argument} of network {options.name!r} is not taken; give its weights as weights."
            )
    keywords = keywords | ({} if num_classes is None else {"num_classes": num_classes})
    if options.name.startswith("timm:"):
        return _build_timm(options.name.removeprefix("timm:"), entry, keywords)
    return _build_torchvision(options.name, entry, keywords)


def _build_torchvision(name: str, entry: str | None, keywords: dict[str, Any]) -> nn.Module:
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        near = near_names(name, known, 8)
        raise ValueError(
            f"torchvision has no classifier named {name!r}; near names: {', '.join(near)};"
            " a timm model is 'timm:NAME', a folder of Hugging Face 'hf:FOLDER', a class of your own"
            " 'package.module:Class' or 'model.py:MyNet'."
        )
    table = torchvision.models.get_model_weights(name)
    if entry is not None and entry != "DEFAULT" and entry not in table.__members__:
        raise ValueError(
            f"weights {entry!r} are neither a file ending in .pth, .pt, .ckpt, .bin or .safetensors nor one of torchvision's"
            f" for {name}: {', '.join(table.__members__)}."
        )
    if name in {"googlenet", "inception_v3"} and entry is None:
        keywords.setdefault("init_weights", False)  # torchvision warns of the slow initialisation otherwise
    return _called(name, torchvision.models.get_model, name, weights=entry, **keywords)


def _build_timm(name: str, entry: str | None, keywords: dict[str, Any]) -> nn.Module:
    try:
        import timm  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"Backbone 'timm:{name}' needs timm: pip install 'vitrine[timm]'") from error
    if entry not in {None, "pretrained"}:
        raise ValueError(f"weights {entry!r} are unknown to timm; give 'pretrained' or a local file.")
    if not re.fullmatch(r"[\w.-]+", name) or not timm.is_model(name):  # hf-hub: and local-dir: name files of others
        near = ", ".join(timm.list_models(f"*{name.split('_', maxsplit=1)[0]}*")[:8]) or "see timm.list_models()"
        raise ValueError(f"timm has no model named {name!r}; near names: {near}.")
    return _called(f"timm:{name}", timm.create_model, name, pretrained=entry is not None, **keywords)


def _build_own(name: str, entry: str | None, keywords: dict[str, Any], num_classes: int | None) -> nn.Module:
    if entry is not None:
        raise ValueError(
            f"weights {entry!r} of {name} must be a local file ending in .pth, .pt, .ckpt or .safetensors."
        )
    kind = class_named(MOVED_CLASSES.get(name, name), nn.Module, "Backbone")
    if num_classes is None or _takes_num_classes(kind):
        return _called(name, kind, **keywords, **({} if num_classes is None else {"num_classes": num_classes}))
    model = _called(name, kind, **keywords)
    replace_classifier(model, num_classes)
    return model


def _takes_num_classes(kind: type[nn.Module]) -> bool:
    parameters = inspect.signature(kind).parameters.values()
    return any(one.name == "num_classes" or one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters)


def _called(name: str, constructor: Callable[..., Any], *args: Any, **keywords: Any) -> nn.Module:
    """What a constructor gives, its errors as one sentence."""
    try:
        model = constructor(*args, **keywords)
    except ImportError:
        raise  # of a library that is not installed
    except OSError as error:
        if not (keywords.get("weights") or keywords.get("pretrained")):
            raise  # of a file of its own
        raise OSError(
            f"The weights of {name!r} cannot be fetched ({first_line(error)}); go online, or give a file of weights."
        ) from error
    except Exception as error:  # constructors of others raise what they like
        given = {key: value for key, value in keywords.items() if key not in {"weights", "pretrained"}}
        raise ValueError(
            f"Network {name!r} cannot be built with the arguments {given}: {type(error).__name__}: {first_line(error)}."
        ) from error
    if not isinstance(model, nn.Module):
        raise ValueError(f"Network {name!r} is a {type(model).__name__} when it is built, no torch.nn.Module.")
    return model
