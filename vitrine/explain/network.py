"""The network that ``vitrine explain`` explains: built by name, with how its input is prepared and what its classes are."""

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torchvision

from vitrine.backbones.class_name_files import read_class_names
from vitrine.backbones.class_names import ClassAliases, assumed_classes, network_classes
from vitrine.backbones.classifier_layer import input_channels
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.hugging_face import PREFIX
from vitrine.backbones.image_sizes import USUAL, blank_image, check_size, working_size
from vitrine.backbones.input_settings import input_settings
from vitrine.backbones.library_names import library_options
from vitrine.backbones.networks import BackboneOptions
from vitrine.backbones.weight_files import recorded_preprocessing
from vitrine.core.error_texts import first_line
from vitrine.core.near_names import near_names
from vitrine.core.options import OptionError
from vitrine.data.class_matching import NetworkClasses, match_classes
from vitrine.data.colours import NUM_CHANNELS, Mode
from vitrine.data.preprocessing import Preprocessing
from vitrine.explain.options import ExplainOptions
from vitrine.explainers import Explainer, load
from vitrine.explainers.saving import CONFIG_NAME

UNKNOWN = "not known; give a file of names as --classes"


@dataclass(frozen=True)
class ExplainedNetwork:
    """A network, how pictures become its input, and its classes.

    Args:
        backbone: the network, frozen.
        preprocessing: of pictures.
        classes: its logits, with their names where they are known.
        names_from: where the names are from, in words.
        explainer: that was trained on it, where the model was named by the folder of one.
    """

    backbone: FrozenBackbone
    preprocessing: Preprocessing
    classes: NetworkClasses
    names_from: str
    explainer: Explainer | None = None

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return blank_image(self.backbone.model, 1).device

    @property
    def known(self) -> tuple[list[str], Preprocessing]:
        """What every explainer of the network is told: names of its classes, if it has any, and how pictures are prepared."""
        return [] if self.classes.aliases is None else self.classes.names(), self.preprocessing

    def index_of(self, wanted: str) -> int:
        """The logit of a class, by its name or index.

        Raises:
            ValueError: for a class that the network has not, with near names.
        """
        names = self.classes.names()
        if wanted.isdecimal() and int(wanted) < self.classes.count:
            return int(wanted)
        try:
            return match_classes([wanted], self.classes, "by_name").indices[0]
        except ValueError as error:
            near = ", ".join(near_names(wanted, names))
            raise ValueError(
                f"--target {wanted!r} is none of the network's {self.classes.count} classes; near names: {near}."
            ) from error


def explained_network(options: ExplainOptions) -> ExplainedNetwork:
    """Builds the network that the options name.

    Raises:
        ValueError: for an unknown network, weights or class names that do not fit, and a size that it does not take.
        FileNotFoundError: where a file is not there.
        OSError: where weights of a public table cannot be fetched.
    """
    if Path(options.model, CONFIG_NAME).is_file():
        return _of_explainer(options)
    name = library_name(options.model)
    weights = None if options.weights == "none" else options.weights or _usual_weights(name)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(options.seed)  # of random weights; the caller's generator stays as it is
        backbone = FrozenBackbone.from_options(BackboneOptions(name, weights, options.num_classes))
    return network_of(backbone, options)


def network_of(backbone: FrozenBackbone, options: ExplainOptions) -> ExplainedNetwork:
    """A network that is built already, as `explained_network` gives it.

    Raises:
        ValueError: where class names do not fit, and for a size or device that does not do.
        FileNotFoundError: where the file of class names is not there.
    """
    place(backbone, options.device)
    preprocessing = prepared_input(backbone, options.size)
    count = _count_logits(backbone, preprocessing.size)
    names, source = _names(backbone.options, count, options.classes)
    return ExplainedNetwork(backbone, preprocessing, NetworkClasses(count, names), source)


def place(module: FrozenBackbone | Explainer, device: str) -> None:
    """Moves a network to a device; ``auto`` is a GPU where there is one.

    Raises:
        ValueError: for a device that is not there.
    """
    wanted = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        module.to(wanted)
    except (RuntimeError, AssertionError, ValueError) as error:  # as torch tells of devices that are not there
        raise ValueError(f"--device {device} cannot be used: {first_line(error)}; give cpu, or cuda.") from error


def library_name(model: str) -> str:
    """The name by which a network is built: names of timm and folders of Hugging Face are known without their prefix."""
    if ":" in model or model in torchvision.models.list_models(module=torchvision.models):
        return model
    if Path(model, "config.json").is_file():
        return f"{PREFIX}{model}"
    if importlib.util.find_spec("timm") is not None:
        import timm  # noqa: PLC0415 - an optional extra

        if timm.is_model(model):
            return f"timm:{model}"
    return model


def prepared_input(backbone: FrozenBackbone, size: int | None = None) -> Preprocessing:
    """How pictures are prepared: as our own file of weights or the network's library says, or else as for ImageNet.

    Where nobody says it, the mean and std are ImageNet's and the size is one that works.

    Args:
        backbone: the network.
        size: side of the input in pixels, in place of what the library says.

    Raises:
        OptionError: where the network takes no images of this size.
    """
    found = _recorded(backbone.options) or _of_library(_library_options(backbone))
    if found is None:
        side = size or working_size(backbone) or USUAL[0]
        found = _with_channels(Preprocessing(side, side * 8 // 7), input_channels(backbone.model))
    elif size is not None:
        resize = None if found.resize is None else round(size * found.resize / found.size)
        found = replace(found, size=size, resize=resize)
    try:
        check_size(backbone, found.size)
    except OptionError as error:
        raise OptionError("--size", error.value, error.wanted) from error
    return found


def _library_options(backbone: FrozenBackbone) -> BackboneOptions:
    """By what name the network's library knows it, also where it was given as it is."""
    if backbone.arguments is not None:
        return backbone.options
    return library_options(backbone.model, backbone.structure) or backbone.options


def _recorded(options: BackboneOptions) -> Preprocessing | None:
    """As our own file of weights says."""
    entries = recorded_preprocessing(options.weight_file)
    try:
        return None if entries is None else Preprocessing.from_dict(entries)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{options.weights} has a damaged entry 'preprocessing': {first_line(error)}.") from error


def _of_library(options: BackboneOptions) -> Preprocessing | None:
    settings = input_settings(options)
    return None if settings is None else Preprocessing(settings.size, settings.resize, settings.mean, settings.std)


def _with_channels(preprocessing: Preprocessing, channels: int) -> Preprocessing:
    """For a network of grey images or of images with opacity, whose means and stds nobody says."""
    mode: Mode = next((name for name, count in NUM_CHANNELS.items() if count == channels), "RGB")
    if mode == "RGB":
        return preprocessing
    return replace(preprocessing, mode=mode, mean=(0.5,) * channels, std=(0.5,) * channels)


def _usual_weights(name: str) -> str | None:
    """Weights of the library's own table, where a network of one is named without any."""
    if name.startswith("timm:"):
        return "pretrained"
    return None if ":" in name else "DEFAULT"


def _count_logits(backbone: FrozenBackbone, size: int) -> int:
    return int(backbone(blank_image(backbone.model, size)).logits.shape[1])


def _names(backbone: BackboneOptions, count: int, file: Path | None) -> tuple[list[ClassAliases] | None, str]:
    """Names of the logits, and where they are from."""
    if file is not None:
        names = read_class_names(file)
        if len(names) != count:
            raise ValueError(
                f"--classes {file} has {len(names)} names, and the network has {count} logits; give a name for each."
            )
        return [(name,) for name in names], str(file)
    recorded = network_classes(backbone, count)
    if recorded is not None:
        return recorded, "recorded with the weights"
    assumed = assumed_classes(backbone, count)
    if assumed is not None:
        return assumed, "ImageNet's, as the file names none and has 1,000 logits; --classes FILE says others"
    return None, UNKNOWN


def _of_explainer(options: ExplainOptions) -> ExplainedNetwork:
    """The network of a saved explainer, whose classes and preparation are saved with it."""
    explainer = load(options.model, backbone=options.weights)
    if options.size is not None and explainer.preprocessing is not None:
        remedy = f"{explainer.preprocessing.size}, which the explainer was made for, or leave it out"
        raise OptionError("--size", options.size, remedy)
    place(explainer, options.device)
    backbone = explainer.backbone
    preprocessing = explainer.preprocessing or prepared_input(backbone, options.size)
    explainer.preprocessing = preprocessing  # of pictures, where nothing was saved
    count = _count_logits(backbone, preprocessing.size)
    if options.classes is None and len(explainer.classes) == count:
        classes = NetworkClasses(count, [(name,) for name in explainer.classes])
        return ExplainedNetwork(backbone, preprocessing, classes, "saved with the explainer", explainer)
    names, source = _names(backbone.options, count, options.classes)
    return ExplainedNetwork(backbone, preprocessing, NetworkClasses(count, names), source, explainer)
