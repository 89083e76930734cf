"""Hugging Face image networks from a local folder: ``config.json`` beside ``model.safetensors``, read without a download."""

import copy
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vitrine.backbones.weight_files import recorded_configuration
from vitrine.core.error_texts import first_line
from vitrine.core.near_names import near_names

PREFIX = "hf:"
"""What begins the name of a network that stands in a folder."""
ATTENTIONS = ("sdpa", "eager")
"""Implementations of attention that are made of torch's operators; others are compiled code, some of it downloaded."""
OF_FORWARD = ("interpolate_pos_encoding",)
"""Arguments that the network takes at each call, rather than in its configuration."""
RECOMPUTED = ("position_ids", "relative_position_index", "num_batches_tracked")
"""Ends of the names of tensors in older files that today's networks compute by themselves."""


class ForwardArguments:
    """A forward pre-hook that passes keyword arguments to each call of a network.

    Args:
        keywords: by name.
    """

    def __init__(self, keywords: Mapping[str, Any]) -> None:
        self.keywords = dict(keywords)

    def __call__(self, _module: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Any, Any]:
        """The inputs as they are, and the arguments with these."""
        return inputs, {**keywords, **self.keywords}


def build_hugging_face(
    name: str,
    file: Path | None,
    arguments: Mapping[str, Any],
    num_classes: int | None,
    *,
    is_tower: bool = False,
) -> nn.Module:
    """The network of a folder, with the folder's weights, or without any where a file holds others.

    Nothing is downloaded, and no code of the folder runs: its configuration chooses one of the classes of transformers.

    Args:
        name: ``hf:FOLDER``.
        file: weights that will be loaded; one that was saved here also holds the configuration, and needs no folder.
        arguments: entries of the configuration that are changed, such as ``num_channels`` or ``image_size``,
            ``attn_implementation`` (``sdpa`` or ``eager``), and ``interpolate_pos_encoding`` for images of other sizes.
        num_classes: number of logits; where the folder has another, the last layer is a new one.
        is_tower: whether it is the image tower of a network such as CLIP that is wanted, and no classifier.

    Raises:
        FileNotFoundError: for a folder that does not exist, or holds no ``config.json`` or no weights.
        ValueError: for a network that is no classifier of images, arguments that it does not have, and weights that do not
            fit it.
        ModuleNotFoundError: where transformers is not installed.
    """
    transformers = _transformers(name)
    folder = Path(name.removeprefix(PREFIX))
    keywords = dict(arguments)
    of_forward = {key: keywords.pop(key) for key in OF_FORWARD if key in keywords}
    with _named(name), _quiet(transformers):
        config = _configuration(transformers, folder, file)
        kind = _tower_class(transformers, config, name) if is_tower else _classifier_class(transformers, config, name)
        saved_classes = getattr(config, "num_labels", None)
        _change(config, keywords, name)
        if num_classes is not None and not is_tower:
            config.num_labels = num_classes
        model = _with_weights_of(folder, kind, config, saved_classes) if file is None else kind(config)
    _pass_on(model, of_forward, name)
    return model.float()


def _transformers(name: str) -> Any:
    try:
        import transformers  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"Backbone {name!r} needs transformers: pip install 'vitrine[hf]'") from error
    return transformers


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Turns the errors that transformers raises into one sentence."""
    try:
        yield
    except (FileNotFoundError, _RefusedError):
        raise
    except Exception as error:  # transformers raises what it likes for damaged files
        raise ValueError(f"Network {name!r} cannot be built: {type(error).__name__}: {first_line(error)}.") from error


class _RefusedError(ValueError):
    """What is refused here, in a sentence already."""


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Without the reports and the bars of transformers; what does not fit is an error here."""
    logging = transformers.utils.logging
    verbosity, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bars:
            logging.enable_progress_bar()


# The configuration


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """A JSON file of a folder; empty where there is none."""
    path = folder / name
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _RefusedError(f"{path} is no JSON: {error}.") from error
    return content if isinstance(content, dict) else {}


def _configuration(transformers: Any, folder: Path, file: Path | None) -> Any:
    """As a file of weights records it, which needs no folder, or as the folder has it."""
    recorded = recorded_configuration(file)
    if recorded is None:
        if not folder.is_dir():
            raise FileNotFoundError(
                f"Folder {folder} does not exist; give one that holds config.json and model.safetensors as {PREFIX}FOLDER."
            )
        recorded = read_json(folder, "config.json")
        if not recorded:
            raise FileNotFoundError(
                f"Folder {folder} holds no config.json; save the network there by save_pretrained(FOLDER)."
            )
    entries = {key: value for key, value in recorded.items() if "attn_implementation" not in key}
    kind = entries.pop("model_type", None)
    if kind not in transformers.CONFIG_MAPPING:
        near = ", ".join(near_names(str(kind), [*transformers.CONFIG_MAPPING], 3))
        raise _RefusedError(
            f"{PREFIX}{folder} has the model_type {kind!r}, which transformers {transformers.__version__} does not have (near"
            f" names: {near}), and code of the folder is not run; give an nn.Module instead."
        )
    return transformers.CONFIG_MAPPING[kind].from_dict(entries)


def saved_classes(folder: Path) -> list[str]:
    """Names of the logits of a folder's network, by index; empty where its configuration has none but placeholders."""
    labels = read_json(folder, "config.json").get("id2label")
    if not isinstance(labels, dict) or not all(str(key).isdecimal() for key in labels):
        return []
    names = {int(key): str(value) for key, value in labels.items()}
    if sorted(names) != list(range(len(names))) or all(name == f"LABEL_{index}" for index, name in names.items()):
        return []
    return [names[index] for index in range(len(names))]


def configuration_of(model: nn.Module) -> dict[str, Any] | None:
    """The configuration of a network of transformers, of which `build_hugging_face` builds it again; None for others."""
    for module in model.modules():
        config: Any = getattr(module, "config", None)
        if hasattr(config, "to_json_string") and hasattr(config, "model_type"):
            entries: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
            left_out = {"_name_or_path", "transformers_version", "dtype", "torch_dtype"}
            return {key: value for key, value in entries.items() if key not in left_out} | {
                "architectures": [type(module).__name__]
            }
    return None


def _change(config: Any, keywords: Mapping[str, Any], name: str) -> None:
    attention = keywords.get("attn_implementation")
    if attention is not None and attention not in ATTENTIONS:
        raise _RefusedError(
            f"arguments.attn_implementation of network {name!r} is {attention!r}; give one of {', '.join(ATTENTIONS)}."
        )
    inner = getattr(config, "vision_config", None)
    known = [key for one in (config, inner) if one is not None for key in one.to_dict()]
    for key, value in keywords.items():
        if key != "attn_implementation" and key not in known:
            near = ", ".join(near_names(key, [*known, *OF_FORWARD], 3))
            raise _RefusedError(f"Network {name!r} has no argument {key!r}; near names: {near}.")
        setattr(inner if inner is not None and hasattr(inner, key) else config, _attribute(key), value)


def _attribute(key: str) -> str:
    return "_attn_implementation" if key == "attn_implementation" else key


# The class


def _classifier_class(transformers: Any, config: Any, name: str) -> Any:
    known = transformers.models.auto.modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING
    declared = (getattr(config, "architectures", None) or [""])[0]
    if type(config) not in known:
        raise _RefusedError(
            f"Network {name!r} is a {declared or config.model_type}, which is no image classifier of transformers; give the"
            " folder of one, whose class is named …ForImageClassification."
        )
    kinds = known[type(config)]
    kinds = kinds if isinstance(kinds, list | tuple) else [kinds]
    kind = next((one for one in kinds if one.__name__ == declared), kinds[0])
    if kind.main_input_name not in {"pixel_values", "inputs"} or config.model_type == "siglip2":
        raise _RefusedError(
            f"Network {name!r} is a {kind.__name__}, which takes {kind.main_input_name!r} made of images rather than the"
            " images themselves; give an nn.Module that makes them."
        )
    return kind


def _tower_class(transformers: Any, config: Any, name: str) -> Any:
    """As the folder says, where that is a network of transformers which gives embeddings of images."""
    declared = (getattr(config, "architectures", None) or [""])[0]
    kind = getattr(transformers, declared, None) if declared.isidentifier() else None
    is_network = isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)
    if not is_network or "ForImageClassification" in declared or config.model_type == "siglip2":
        raise _RefusedError(
            f"Network {name!r} is a {declared or config.model_type}, which gives no embeddings of images (B, C, H, W) for"
            " arguments.class_embeddings; give the folder of a CLIPModel, CLIPVisionModelWithProjection, SiglipModel or the"
            " like."
        )
    return kind


# The weights


def _with_weights_of(folder: Path, kind: Any, config: Any, saved_classes: int | None) -> nn.Module:
    if not [*folder.glob("*.safetensors"), *folder.glob("*.bin")]:
        raise FileNotFoundError(
            f"Folder {folder} holds no model.safetensors; save the network there by save_pretrained(FOLDER)."
        )
    model, report = kind.from_pretrained(
        str(folder),
        config=config,
        local_files_only=True,
        trust_remote_code=False,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    _check_shapes(folder, report["mismatched_keys"], getattr(config, "num_labels", None), saved_classes)
    if report["missing_keys"]:
        raise _RefusedError(_lacking(folder, kind, sorted(report["missing_keys"])))
    surplus = sorted(key for key in report["unexpected_keys"] if not key.endswith(RECOMPUTED))
    if surplus:
        warnings.warn(
            f"{len(surplus)} tensors of {folder} are no part of a {kind.__name__} and left out, such as {surplus[0]!r}.",
            stacklevel=2,
        )
    return model  # type: ignore[no-any-return]


def renamed_state(model: nn.Module, content: Mapping[str, Any]) -> dict[str, Tensor] | None:
    """The tensors of a file under the names that a network has today: transformers saves many under earlier ones.

    Args:
        model: of transformers; where the file has another number of logits, so has what is given.
        content: of the file, by name.

    Returns:
        None for a network of another library, and where the file is not of this one.
    """
    if not hasattr(model, "config") or not hasattr(model, "from_pretrained"):
        return None
    transformers = _transformers(type(model).__name__)
    kind: Any = type(model)
    config: Any = copy.deepcopy(model.config)
    for _ in range(2):
        try:
            with _quiet(transformers):
                found, report = kind.from_pretrained(
                    None,
                    config=config,
                    state_dict=dict(content),
                    ignore_mismatched_sizes=True,
                    output_loading_info=True,
                )
        except Exception:  # noqa: BLE001 - a file of something else may fail anywhere
            return None
        classes = {there[0] for _, there, here in report["mismatched_keys"] if here[0] == config.num_labels}
        if not report["mismatched_keys"]:
            break
        config.num_labels = classes.pop() if classes else config.num_labels
    fits = not (report["missing_keys"] or report["mismatched_keys"] or report["unexpected_keys"])
    return found.state_dict() if fits else None


def _lacking(folder: Path, kind: Any, missing: list[str]) -> str:
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    remedy = "give the folder of a trained classifier, or backbone.weights"
    if hasattr(kind.config_class, "sub_configs") and "vision_config" in kind.config_class.sub_configs:
        remedy += ", or arguments.class_embeddings for a zero-shot head"
    return f"The weights of {folder} lack {missing[0]!r}{more} of a {kind.__name__}; {remedy}."


def _check_shapes(folder: Path, mismatched: Any, classes: int | None, saved_classes: int | None) -> None:
    """Allows other shapes for another number of logits alone."""
    for key, there, here in sorted(mismatched):
        is_last = there[:1] == (saved_classes,) and here[:1] == (classes,) and there[1:] == here[1:]
        if is_last and classes != saved_classes:
            continue
        remedy = "leave out the argument that changes it"
        if "position" in key:
            remedy = "leave out arguments.image_size and give arguments.interpolate_pos_encoding: true for other sizes"
        raise _RefusedError(
            f"The weights of {folder} do not fit: {key!r} has shape {tuple(there)} there and {tuple(here)} here; {remedy}."
        )


def _pass_on(model: nn.Module, keywords: Mapping[str, Any], name: str) -> None:
    """Gives each call the arguments that are not of the configuration."""
    if not keywords:
        return
    part = getattr(model, "vision_model", None)
    part = part if isinstance(part, nn.Module) else model
    takes = {key for one in part.modules() for key in _parameters(one)}
    for key in keywords:
        if key not in takes:
            raise ValueError(f"Network {name!r} takes no argument {key!r}; leave it out.")
    part.register_forward_pre_hook(ForwardArguments(keywords), with_kwargs=True)


def _parameters(module: nn.Module) -> tuple[str, ...]:
    code = getattr(getattr(module.forward, "__wrapped__", module.forward), "__code__", None)
    return () if code is None else code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
