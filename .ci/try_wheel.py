"""Tries the wheel and the sdist of a folder: the wheel is installed in an environment of its own, and used from there.

    python .ci/try_wheel.py dist

The environment has this one's packages behind its own, so that torch is not fetched again; the package itself comes from the
wheel, without the clone's folders and its editable installation.
"""

import re
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
import zipfile
from email.parser import HeaderParser
from pathlib import Path

ROOT = Path(__file__).parents[1]
USE = """
import sys
from importlib.metadata import entry_points, version
from importlib.resources import files
from pathlib import Path

import torch
from torch import nn
import vitrine
from vitrine.backbones import FrozenBackbone
from vitrine.explainers import SRAEExplainer, SRAEOptions

assert Path(vitrine.__file__).is_relative_to(sys.prefix), vitrine.__file__
assert vitrine.__version__ == version("vitrine")
assert not {"pytorch_lightning", "wandb", "train"} & set(sys.modules)
weights = files("vitrine") / "data" / "an8flower" / "flower_net.safetensors"
backbone = FrozenBackbone("vitrine.data.an8flower.network:FlowerNet", str(weights))
explainer = SRAEExplainer(backbone, SRAEOptions("features", hidden=[8], num_features=2, image_size=64))
explainer.save("explainer")
images = torch.rand(2, 3, 64, 64)
loaded = vitrine.load("explainer").explain(images)
assert torch.equal(loaded.heatmaps, explainer.explain(images).heatmaps)
assert vitrine.load("flower").explained_classes
"""


def main(dist: Path) -> None:
    """Runs all checks; raises where one fails."""
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    held = set(zipfile.ZipFile(wheel).namelist())
    check_contents(wheel, held)
    check_sdist(sdist, held)
    with tempfile.TemporaryDirectory() as folder:
        python = environment(Path(folder) / "venv", wheel)
        run(python, "-c", USE, cwd=folder)
        script = python.parent / "vitrine"
        named = run(python, "-c", "from vitrine.commands import COMMANDS; print(*COMMANDS)", cwd=folder).split()
        for command in ([], *([name] for name in named)):
            run(script, *command, "--help", cwd=folder)
    sys.stdout.write(f"{wheel.name} and {sdist.name}: {len(held)} files; installed, imported, loaded an explainer\n")


def check_contents(wheel: Path, held: set[str]) -> None:
    """Every file of the package is in the wheel, nothing else is, and what the metadata requires can be read."""
    kinds = (".py", ".safetensors", ".css", ".js", ".html", ".json", ".yaml", ".md", ".typed")
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "vitrine").rglob("*") if path.suffix in kinds}
    lacking = files - held
    assert not lacking, f"{wheel.name} lacks {', '.join(sorted(lacking))}"
    outside = {name for name in held if not name.startswith("vitrine")}
    assert not outside, f"{wheel.name} holds {', '.join(sorted(outside))}"
    name = next(one for one in held if one.endswith(".dist-info/METADATA"))
    metadata = HeaderParser().parsestr(zipfile.ZipFile(wheel).read(name).decode())
    extras = set(metadata.get_all("Provides-Extra") or ())
    named = {
        extra for line in metadata.get_all("Requires-Dist") or () for extra in re.findall(r"extra == .(\w+)", line)
    }
    assert {"train", "timm", "hf", "synthetic", "docs", "dev"} <= extras == named, (extras, named)


def check_sdist(sdist: Path, held: set[str]) -> None:
    """The sdist builds the same wheel: it holds the same files of the package, and what builds them."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    package = {name for name in held if name.startswith("vitrine/")}
    assert {"pyproject.toml", "LICENSE", "README.md"} | package <= names, package - names


def environment(folder: Path, wheel: Path) -> Path:
    """An environment with the wheel alone, and this one's other packages behind it; returns its Python."""
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    own = Path(
        subprocess.check_output(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
        ).strip()
    )
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--quiet",
        "--no-deps",
        "--disable-pip-version-check",
    ]
    subprocess.check_call([*pip, str(wheel)])
    (own / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n")  # .pth files within it are not read
    return python


def run(*command: object, cwd: str) -> str:
    """Runs a command away from the clone; what it prints."""
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command[0]} {command[1:]}: {done.stdout}{done.stderr}"
    return done.stdout


if __name__ == "__main__":
    main(Path(sys.argv[1]))
