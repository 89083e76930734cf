"""Imports the whole package where no optional extra is installed, and asks for what needs one.

A script of its own, so that it runs against a wheel that was installed without pytest. With ``--hide``, the packages of the
extras are hidden first, for an environment that has them. Prints a JSON object: the number of ``imported`` modules, and by
module or call the sentence that ``refused`` it.
"""

import argparse
import importlib
import json
import pkgutil
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

EXTRAS = {
    "train": ("pytorch_lightning", "lightning", "lightning_fabric", "jsonargparse", "wandb", "tensorboard"),
    "synthetic": ("trimesh", "embreex"),
    "timm": ("timm",),
    "inpainting": ("cv2",),
    "serve": ("gradio",),
    "onnx": ("onnxscript",),  # torch itself looks for the others when it is imported
}


class Hidden(MetaPathFinder):
    """Finds none of the packages of the extras, as if they were not installed."""

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if any(fullname.partition(".")[0] in packages for packages in EXTRAS.values()):
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        return None


def import_all() -> tuple[list[str], dict[str, str]]:
    """Names of the modules that can be imported, and the sentences of those that name the extra that they need."""
    import vitrine

    imported, refused = [], {}
    names = [module.name for module in pkgutil.walk_packages(vitrine.__path__, "vitrine.")]
    for name in names:
        if name.rpartition(".")[2] == "__main__":
            continue
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if "pip install 'vitrine[" not in str(error):
                raise
            refused[name] = str(error)
        else:
            imported.append(name)
    return imported, refused


def calls() -> dict[str, Callable[[], object]]:
    """What needs an extra only once it is called."""
    from vitrine.backbones import FrozenBackbone
    from vitrine.export.onnx_file import check_installed
    from vitrine.metrics.masked_images import opencv
    from vitrine.serve.page import gradio_package

    timm = lambda: FrozenBackbone("timm:resnet10t")  # noqa: E731
    return {"timm": timm, "opencv": opencv, "gradio": gradio_package, "onnx": check_installed}


def call_all() -> dict[str, str]:
    """By call, the sentence with which it is refused."""
    refused = {}
    for name, call in calls().items():
        try:
            call()
        except ModuleNotFoundError as error:
            refused[name] = str(error)
        else:
            raise RuntimeError(f"{name} needed no extra.")
    return refused


def main(arguments: Sequence[str] | None = None) -> None:
    """Imports and calls everything; an error of any other kind ends the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hide", action="store_true", help="hide the packages of the extras first")
    if parser.parse_args(arguments).hide:
        sys.meta_path.insert(0, Hidden())
    import vitrine

    assert "torch" not in sys.modules, "import vitrine brought torch"
    assert vitrine.__version__
    assert callable(vitrine.load)
    imported, refused = import_all()
    for message in (calls_refused := call_all()).values():
        assert "pip install 'vitrine[" in message, message
    present = {package for packages in EXTRAS.values() for package in packages} & set(sys.modules)
    assert not present, f"extras were imported: {present}"
    json.dump({"imported": imported, "refused": refused | calls_refused}, sys.stdout, indent=2)


if __name__ == "__main__":
    main()
