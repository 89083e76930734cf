"""Loads explainers that were saved: ``vitrine.load``."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from vitrine.backbones.frozen import FrozenBackbone, check_arguments, check_digest
from vitrine.backbones.networks import MOVED_CLASSES, PACKAGE, PACKAGE_NETWORKS, BackboneOptions
from vitrine.backbones.weight_files import is_weight_file
from vitrine.core.class_files import file_of
from vitrine.core.class_paths import allowed_entries, class_named, entry_for, is_allowed
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers.backbone_entry import FUNCTION
from vitrine.explainers.base import Explainer
from vitrine.explainers.config_file import first_line, made, read_config, read_heads
from vitrine.explainers.names import NAMES_NAME
from vitrine.explainers.saving import BACKBONE_NAME, CONFIG_NAME
from vitrine.explainers.wandb_artifact import explainer_folder, is_wandb_name

SHIPPED = {"flower": PACKAGE / "data" / "an8flower" / "flower_explainer"}
"""Folders of trained explainers that come with this package, by name."""


def load(
    folder: str | Path,
    *,
    backbone: FrozenBackbone | nn.Module | str | Path | None = None,
    device: str = "cpu",
    explainer: type[Explainer] | None = None,
    allow: str | Iterable[str] = (),
) -> Explainer:
    """Loads an explainer that `Explainer.save` wrote.

    Networks of torchvision, of timm and of this package are built by the name that ``explainer.json`` says. A class of
    anybody else is neither imported nor called unless its module is allowed, and then only where it inherits
    ``torch.nn.Module``: the file may come from somebody else.

    Args:
        folder: holds ``explainer.json`` and ``explainer.safetensors``; or ``flower``, the explainer that comes with this
            package; or ``wandb:ENTITY/PROJECT/NAME:VERSION``, one that W&B keeps, see `explainer_folder`.
        backbone: the network that it was trained on, or the name of its class, such as ``model.py:MyNet``; or a file with
            its weights, where the folder does not hold them and they have moved or were never in a file.
        device: where to put it.
        explainer: its class, where that is an own one whose module is not imported.
        allow: what may be imported for classes that ``explainer.json`` names, of the network and of the explainer:
            ``"my_package."`` for a package and all in it, ``"my_package.networks"`` for one module,
            ``"my_package.networks:MyNet"`` for one class, ``"model.py"`` for a file.

    Raises:
        FileNotFoundError: where the folder or the backbone's weights are not there.
        ConnectionError: for an explainer in W&B that cannot be had from there.
        ValueError: where a file is damaged, names do not fit the explainer, its class or that of its network is not known and
            not allowed, or the backbone's weights are not those that it was trained on.

    Example:
        >>> import tempfile
        >>> from torch import nn
        >>> from vitrine.backbones import FrozenBackbone
        >>> from vitrine.explainers import SRAEExplainer, SRAEOptions
        >>> features = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
        >>> model = nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
        >>> explainer = SRAEExplainer(FrozenBackbone(model), SRAEOptions(layer="0", image_size=16))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     explainer.save(f"{folder}/explainer")
        ...     type(load(f"{folder}/explainer", backbone=model)).__name__
        'SRAEExplainer'
    """
    folder = explainer_folder(str(folder)) if is_wandb_name(folder) else _place(folder)
    allowed = allowed_entries(allow)
    config = read_config(folder)
    preprocessing = config["preprocessing"]
    if preprocessing is not None:
        preprocessing = made(folder, "preprocessing", lambda: Preprocessing.from_dict(config["preprocessing"]))
    kind = explainer or _registered(folder, config, allowed)
    if not isinstance(kind, type) or not issubclass(kind, Explainer):
        raise ValueError(f"explainer is {kind!r}; give the explainer's class, which inherits Explainer.")
    options = made(folder, "options", lambda: kind.options_type.from_dict(config["options"]))
    network = _backbone(folder, config, backbone, allowed)
    check_digest(expected=config["weight_digest"], actual=network.digest)
    check_arguments(expected=config.get("backbone_arguments"), actual=network.arguments)
    loaded = made(
        folder, kind.__name__, lambda: kind(network, options, classes=config["classes"], preprocessing=preprocessing)
    )
    loaded.multi_label = config.get("multi_label", False)
    loaded.load_head_state(read_heads(folder))
    if (folder / NAMES_NAME).is_file():
        loaded.read_heatmap_names(folder / NAMES_NAME)
    return _placed(loaded, device).eval()


def _place(folder: str | Path) -> Path:
    shipped = SHIPPED.get(str(folder))
    return Path(folder) if shipped is None or Path(folder).exists() else shipped


def _placed(explainer: Explainer, device: str) -> Explainer:
    try:
        return explainer.to(device)
    except (RuntimeError, AssertionError, ValueError) as error:  # as torch tells of devices that are not there
        raise ValueError(
            f"device is {device!r}, which cannot be used: {first_line(error)}; give cpu or cuda."
        ) from error


def _registered(folder: Path, config: dict[str, Any], allow: Sequence[str]) -> type[Explainer]:
    """The class of a saved explainer: by its path, or by its name where it moved in this package or no path was saved."""
    name, path = config["explainer"], config.get("class_path", "")
    if path in Explainer.registered:
        return Explainer.registered[path]
    for registered, kind in Explainer.registered.items():
        moved = registered.startswith("vitrine.") and path.startswith("vitrine.")
        if kind.__name__ == name and (moved or not path):
            return kind
    if path and is_allowed(path, allow):
        return class_named(path, Explainer, "Explainer", allow)  # type: ignore[type-abstract]
    module, _, class_name = path.partition(":")
    remedy = f"pass its class: vitrine.load(..., explainer={class_name or name})"
    if module not in {"", "__main__"}:
        remedy = f"import {module} before, or {remedy}, or allow its module: allow=({module!r},)"
    raise ValueError(f"{folder / CONFIG_NAME} is of the explainer {path or name!r}, which is not known here; {remedy}.")


def _backbone(
    folder: Path,
    config: dict[str, Any],
    backbone: FrozenBackbone | nn.Module | str | Path | None,
    allow: Sequence[str],
) -> FrozenBackbone:
    if isinstance(backbone, FrozenBackbone):
        return backbone
    options = made(folder, "backbone", lambda: BackboneOptions.from_dict(config["backbone"]))
    if str(options.output).startswith(FUNCTION):
        raise ValueError(
            f"The logits of {folder} are what the {options.output} takes from its network's output; pass both:"
            " vitrine.load(..., backbone=FrozenBackbone(NETWORK, output=FUNCTION))."
        )
    if isinstance(backbone, nn.Module):
        return FrozenBackbone(backbone, output=options.output)
    if backbone is not None and not isinstance(backbone, str | Path):
        raise ValueError(f"backbone is {backbone!r}; give the network itself, or a file with its weights.")
    if isinstance(backbone, str) and BackboneOptions(backbone).is_own and not is_weight_file(backbone):
        options, backbone = replace(options, name=backbone), None  # the caller has named it
    else:
        _check_may_be_built(folder, options, allow)
    bundled = folder / BACKBONE_NAME
    if backbone is not None:
        options = replace(options, weights=str(backbone))
    elif bundled.is_file():
        options = replace(options, weights=str(bundled))
    elif options.weight_file and not options.weight_file.is_file():
        raise FileNotFoundError(
            f"The backbone's weights {options.weight_file} of {folder} are not there any more;"
            " give their file as vitrine.load(..., backbone=FILE)."
        )
    try:
        return FrozenBackbone.from_options(options)
    except ValueError as error:
        remedy = "pass the network that the explainer was trained on: vitrine.load(..., backbone=NETWORK)"
        raise ValueError(f"The backbone of {folder} cannot be built: {first_line(error)}; {remedy}.") from error


def _check_may_be_built(folder: Path, options: BackboneOptions, allow: Sequence[str]) -> None:
    """Refuses a class that the caller did not allow, before anything is imported, and one that is no ``nn.Module``.

    Raises:
        ValueError: with what to pass or to allow.
    """
    name = MOVED_CLASSES.get(options.name, options.name)
    if not options.is_own or name in PACKAGE_NETWORKS:
        return
    if not is_allowed(name, allow):
        file = file_of(name)
        network = "NETWORK" if file is None else repr(f"{file.name}:{name.rpartition(':')[2]}")
        raise ValueError(
            f"{folder / CONFIG_NAME} names the network {name!r}, and no class that such a file names is imported by itself;"
            f" pass the network: vitrine.load(..., backbone={network}), or allow its {'file' if file else 'module'}:"
            f" allow=({entry_for(name)!r},)."
        )
    class_named(name, nn.Module, "Backbone", allow)
