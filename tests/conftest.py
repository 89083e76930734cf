"""Small sets that several tests read, made once a session."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from torch import distributed

from vitrine.data.an8flower.generate import generate
from vitrine.data.an8flower.settings import FlowerSettings

torch.set_num_threads(1)  # the tests run on all cores, a process each


DISTRIBUTED_VARIABLES = ("LOCAL_RANK", "NODE_RANK", "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture(autouse=True)
def no_trace_of_distributed_runs() -> Iterator[None]:
    """A run with strategy ddp leaves variables that make later processes believe that they are one of its ranks."""
    yield
    for name in DISTRIBUTED_VARIABLES:
        os.environ.pop(name, None)
    if distributed.is_initialized():
        distributed.destroy_process_group()


@pytest.fixture(scope="session")
def run_script() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a script that trains, in as many processes as it starts: ``run_script(script, *args, cwd=folder)``."""
    return run_to_end


def run_to_end(script: str | Path, *args: object, cwd: Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """What a script printed that came to its end well; ``timeout`` in seconds."""
    source = Path(script).read_text(encoding="utf-8")
    assert "leave_process_group" in source, f"{script}: register leave_process_group with atexit, as train.py does"
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, str(script), *map(str, args)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture(scope="session")
def flower_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few small rendered flowers of six classes: train/ and test/."""
    folder = tmp_path_factory.mktemp("flower") / "an8flower"
    settings = FlowerSettings("single-6c", views=5, size=72, crops=1, rotations=1, crop_size=64, supersampling=1)
    generate(settings, folder, workers=1)
    return folder


@pytest.fixture(scope="session")
def class_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of two classes in class folders below train/ and test/."""
    root = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 2)):
        for name in ("ant", "bee"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (40, 48, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{name}_{split}_{number}.png")
    return root


VOC_OBJECTS = {
    "000001": [("dog", 0, (1, 1, 20, 30)), ("person", 0, (11, 6, 40, 36))],
    "000002": [("cat", 0, (5, 5, 24, 24)), ("cat", 1, (30, 8, 48, 16))],
    "000003": [("person", 0, (2, 3, 12, 33)), ("bicycle", 1, (8, 20, 44, 36))],
    "000004": [("tvmonitor", 0, (4, 4, 28, 24))],
    "000005": [("aeroplane", 0, (1, 1, 48, 36))],
    "000006": [("dog", 0, (3, 2, 30, 20)), ("cat", 0, (20, 18, 46, 34)), ("dog", 1, (1, 24, 9, 35))],
    "000007": [],
    "000008": [("person", 1, (6, 1, 16, 36))],
    "000009": [("sofa", 0, (1, 10, 48, 36)), ("cat", 0, (10, 6, 26, 20))],
    "000010": [("person", 0, (20, 2, 40, 36)), ("dog", 0, (2, 14, 18, 34))],
}
VOC_LISTS = {"train": range(1, 4), "val": range(4, 6), "trainval": range(1, 6), "test": range(6, 11)}


@pytest.fixture(scope="session")
def voc_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """VOCdevkit with ten images of 2007, 48 pixels wide and 36 high."""
    root = tmp_path_factory.mktemp("voc") / "VOCdevkit"
    year = root / "VOC2007"
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (year / name).mkdir(parents=True)
    for split, numbers in VOC_LISTS.items():
        (year / f"ImageSets/Main/{split}.txt").write_text("".join(f"{number:06d}\n" for number in numbers))
    generator = np.random.default_rng(0)
    for name, objects in VOC_OBJECTS.items():
        Image.fromarray(generator.integers(0, 256, (36, 48, 3), dtype=np.uint8)).save(year / f"JPEGImages/{name}.jpg")
        (year / f"Annotations/{name}.xml").write_text(voc_annotation(name, objects))
    return root


def voc_annotation(name: str, objects: Sequence[tuple[str, int, tuple[int, int, int, int]]]) -> str:
    """An annotation file as the official archive has it; a person has a part with a box of its own."""
    text = f"<annotation>\n\t<folder>VOC2007</folder>\n\t<filename>{name}.jpg</filename>\n"
    text += "\t<size>\n\t\t<width>48</width>\n\t\t<height>36</height>\n\t\t<depth>3</depth>\n\t</size>\n"
    for kind, difficult, (x0, y0, x1, y1) in objects:
        box = f"<xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>"
        text += f"\t<object>\n\t\t<name>{kind}</name>\n\t\t<pose>Left</pose>\n\t\t<truncated>1</truncated>\n"
        text += f"\t\t<difficult>{difficult}</difficult>\n\t\t<bndbox>{box}</bndbox>\n"
        if kind == "person":
            text += f"\t\t<part>\n\t\t\t<name>head</name>\n\t\t\t<bndbox>{box}</bndbox>\n\t\t</part>\n"
        text += "\t</object>\n"
    return text + "</annotation>\n"


@pytest.fixture(scope="session")
def scene_sets() -> ModuleType:
    """The makers of small ADE20K and Places365 folders."""
    path = Path(__file__).parent / "vitrine" / "data" / "shards" / "scene_sets.py"
    spec = importlib.util.spec_from_file_location("scene_sets", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ROOMS = {
    45: "bathroom", 52: "bedroom", 102: "conference_room", 121: "dining_room", 176: "home_office", 182: "hotel_room",
    203: "kitchen", 215: "living_room", 244: "office", 352: "waiting_room",
}  # fmt: skip


@pytest.fixture(scope="session")
def rooms(scene_sets: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """places365_standard and ADE20K_2021_17_01 with ten rooms, which have their official places among 365 categories."""
    folder = tmp_path_factory.mktemp("rooms")
    categories = [ROOMS.get(place, f"scene_{place}") for place in range(365)]
    scene_sets.write_easy_places(folder / "places365_standard", list(ROOMS.values()), 2, 1, categories)
    images = [("training", f"home/{name}", f"ADE_train_{place:08d}") for place, name in ROOMS.items()]
    scene_sets.write_ade20k(folder / "ADE20K_2021_17_01", images)
    return folder


@pytest.fixture
def workplace(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flower_shards: Path,
    class_folder: Path,
    voc_root: Path,
    rooms: Path,
) -> Path:
    """A folder to run the command line in, that has what the configs name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    root = Path(__file__).parents[1]
    for name in ("configs", "vitrine"):
        (tmp_path / name).symlink_to(root / name)
    (tmp_path / "data").mkdir()
    for name in ("an8flower-small", "cub"):
        (tmp_path / "data" / name).symlink_to(flower_shards)
    (tmp_path / "data" / "images").symlink_to(class_folder)
    (tmp_path / "data" / "VOCdevkit").symlink_to(voc_root)
    for path in rooms.iterdir():
        (tmp_path / "data" / path.name).symlink_to(path)
    return tmp_path


@pytest.fixture(autouse=True)
def no_open_run() -> Iterator[None]:
    """A W&B run that a test leaves open would be the next test's run."""
    yield
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.finish()


@pytest.fixture(scope="session")
def small_run() -> list[str]:
    """Options that make the quickstart's run a matter of a second."""
    return [
        "-c", "configs/quickstart.yaml", "--trainer.devices=1", "--trainer.max_epochs=2",
        "--trainer.check_val_every_n_epoch=1", "--data.init_args.num_workers=0", "--data.init_args.batch_size=4",
        "--model.init_args.hidden=[8]", "--model.init_args.num_features=2", "--model.init_args.image_size=64",
    ]  # fmt: skip


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images that VITRINE_REAL_DATA names."""
    folder = os.environ.get("VITRINE_REAL_DATA")
    if not folder:
        pytest.skip("VITRINE_REAL_DATA is not set: this test reads real images")
    return Path(folder)
