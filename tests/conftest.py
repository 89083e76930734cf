"""Small sets that several tests read, made once a session."""

import gc
import os
import socket
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from PIL import Image
from torch import distributed

from tests.helpers import image_sets as sets
from tests.helpers import scene_sets
from tests.helpers.pages import chromium
from tests.helpers.ranks import RankPool
from tests.helpers.slow_tests import SlowTestRecorder, slow_tests
from tests.helpers.voc_sets import write_voc

torch.set_num_threads(1)  # the tests run on all cores, a process each

# On a busy machine an example may take any time. Examples are the same in each run; --hypothesis-profile=random draws others.
NO_DEADLINE: dict[str, Any] = {"deadline": None, "print_blob": True, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("repeatable", derandomize=True, **NO_DEADLINE)
settings.register_profile("random", derandomize=False, **NO_DEADLINE)
settings.load_profile("repeatable")


SLOW = slow_tests()


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--record-slow`` measures which tests are slow, ``--device`` says where tests of devices run."""
    parser.addoption("--device", default="cpu", help="device of tests/test_devices.py, such as cuda (cpu)")
    parser.addoption("--record-slow", action="store_true", help="write tests/slow_tests.txt from this run")


def pytest_configure(config: pytest.Config) -> None:
    """Measures on the controller, to which workers report."""
    if config.getoption("--record-slow") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(SlowTestRecorder())


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where slow tests are left out, a file of slow tests alone is not imported: some import for longer than others run."""
    if config.getoption("markexpr") != "not slow" or collection_path.suffix != ".py":
        return None
    return collection_path.relative_to(config.rootpath).as_posix() in SLOW or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests of the list, and those that need two ranks, which start for longer than they run."""
    for item in items:
        needs_ranks = "ranks" in getattr(item, "fixturenames", ())
        if needs_ranks or item.nodeid in SLOW or item.nodeid.partition("::")[0] in SLOW:
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Leaves what is imported and collected, which stays to the end, out of garbage collections.

    While it grows, each goes through all of it, a quarter of the time of collecting. Later a full one waits until a quarter
    as many objects are new as were there before: beside ten thousand tests, the networks of many were kept until then.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


DISTRIBUTED_VARIABLES = ("LOCAL_RANK", "NODE_RANK", "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture(autouse=True)
def no_trace_of_distributed_runs() -> Iterator[None]:
    """A run with strategy ddp leaves variables that make later processes believe that they are one of its ranks.

    So does one under a launcher's variables: Lightning keeps its rank, and tells nothing on others than rank zero.
    """
    yield
    rank_zero = sys.modules.get("lightning_utilities.core.rank_zero")
    if rank_zero is not None:
        rank_zero.rank_zero_only.rank = 0
    for name in DISTRIBUTED_VARIABLES:
        os.environ.pop(name, None)
    if distributed.is_initialized():
        distributed.destroy_process_group()


@pytest.fixture(scope="session")
def ranks() -> Iterator[RankPool]:
    """Runs a function on two ranks, in processes that all tests share: ``ranks.run(function, *arguments)``."""
    with RankPool() as pool:
        yield pool


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Gives a port that nobody listens on."""

    def find() -> int:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port: int = listener.getsockname()[1]
            return port

    return find


@pytest.fixture(scope="session")
def flower_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few small rendered flowers of six classes: train/ and test/."""
    from vitrine.data.an8flower.generate import generate
    from vitrine.data.an8flower.settings import FlowerSettings

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


@pytest.fixture(scope="session")
def voc_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """VOCdevkit with ten images of 2007, 48 pixels wide and 36 high."""
    return write_voc(tmp_path_factory.mktemp("voc") / "VOCdevkit")


ROOMS = {
    45: "bathroom", 52: "bedroom", 102: "conference_room", 121: "dining_room", 176: "home_office", 182: "hotel_room",
    203: "kitchen", 215: "living_room", 244: "office", 352: "waiting_room",
}  # fmt: skip


@pytest.fixture(scope="session")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """places365_standard and ADE20K_2021_17_01 with ten rooms, which have their official places among 365 categories."""
    folder = tmp_path_factory.mktemp("rooms")
    categories = [ROOMS.get(place, f"scene_{place}") for place in range(365)]
    scene_sets.write_easy_places(folder / "places365_standard", list(ROOMS.values()), 2, 1, categories)
    images = [("training", f"home/{name}", f"ADE_train_{place:08d}") for place, name in ROOMS.items()]
    scene_sets.write_ade20k(folder / "ADE20K_2021_17_01", images)
    return folder


@pytest.fixture(scope="session")
def image_sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ImageNet and Tiny ImageNet with three classes, three among a thousand names of classes, MNIST, and MSRA-B."""
    folder = tmp_path_factory.mktemp("sets")
    sets.write_imagenet(folder / "ImageNet", per_class=4)
    sets.write_tiny_imagenet(folder / "tiny-imagenet-200", per_class=4)
    sets.write_mnist(folder / "MNIST")
    sets.write_saliency(folder / "MSRA-B", count=5)
    others = [f"n{number:08d}" for number in range(1000 - len(sets.WNIDS))]
    (folder / "wnids.txt").write_text("".join(f"{wnid}\n" for wnid in [*others, *sets.WNIDS]))
    return folder


@pytest.fixture
def workplace(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flower_shards: Path,
    class_folder: Path,
    voc_root: Path,
    rooms: Path,
    image_sets: Path,
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
    for path in [*rooms.iterdir(), *image_sets.iterdir()]:
        (tmp_path / "data" / path.name).symlink_to(path)
    return tmp_path


@pytest.fixture
def weights(workplace: Path) -> Path:
    """Stand-ins for the weights that the configs take from elsewhere."""
    import torchvision
    from safetensors.torch import save_file

    from tests.helpers.thin_networks import ThinVGG19

    torch.manual_seed(0)
    for name, network, classes in (
        ("cub_mobilenet_classifier", torchvision.models.mobilenet_v2, 6),
        ("cub_squeezenet_classifier", torchvision.models.squeezenet1_0, 6),
        ("folder_classifier", torchvision.models.resnet18, 2),
        ("voc_vgg19_classifier", ThinVGG19, 20),
    ):
        state = network(num_classes=classes).state_dict()
        path = workplace / "runs" / name / "classifier.safetensors"
        path.parent.mkdir(parents=True)
        save_file(state, path, metadata={"num_classes": str(classes)})
    return workplace


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
        "--trainer.check_val_every_n_epoch=1",
        "--data.init_args.loading.num_workers=0", "--data.init_args.loading.batch_size=4",
        "--model.init_args.srae.hidden=[8]", "--model.init_args.srae.num_features=2", "--model.init_args.srae.image_size=64",
    ]  # fmt: skip


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images that VITRINE_REAL_DATA names."""
    folder = os.environ.get("VITRINE_REAL_DATA")
    if not folder:
        pytest.skip("VITRINE_REAL_DATA is not set: this test reads real images")
    return Path(folder)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless browser, one for all tests: a process has room for one driver."""
    with chromium() as browser:
        yield browser
