import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tarfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vitrine
from vitrine.core.atomic_io import atomic_new_folder
from vitrine.core.locks import HEARTBEAT
from vitrine.data.shards.pool import _start_method, run_tasks
from vitrine.data.shards.sample import Sample, make_key
from vitrine.data.shards.schema import ShardIndex, read_index
from vitrine.data.shards.verifier import verify
from vitrine.data.shards.writer import write_shards

MakeSamples = Callable[[int], list[Sample]]


def write(samples: list[Sample], out: Path, **changes: Any) -> ShardIndex:
    options: dict[str, Any] = {"dataset": "pets", "split": "train", "classes": ["cat", "dog"], "workers": 1}
    return write_shards(samples, out, **{**options, "annotations": ["boxes"], "shard_size": 4, **changes})


def members(folder: Path) -> dict[str, bytes]:
    """All members of all shards, in their order."""
    found: dict[str, bytes] = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                assert member.name not in found
                found[member.name] = file.read()
    return found


def square(task: int, advance: Callable[[], None]) -> int:
    advance()
    return task * task


def raise_interrupt() -> bytes:
    raise KeyboardInterrupt


def grey_png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def test_images_come_back_byte_for_byte_with_their_records(tmp_path: Path, make_samples: MakeSamples) -> None:
    samples = make_samples(10)
    index = write(samples, tmp_path / "out")
    found = members(tmp_path / "out")
    assert index == read_index(tmp_path / "out")
    assert [shard.count for shard in index.shards] == [4, 4, 2]
    assert (index.count, index.class_counts, len(found)) == (10, [5, 5], 20)
    for number, sample in enumerate(samples):
        assert found[f"{sample.key}.png"] == sample.image
        assert json.loads(found[f"{sample.key}.json"]) == {
            "label": number % 2,
            "width": 8,
            "height": 6,
            "boxes": [[1.0, 1.0, 5.0, 4.0]],
            "source": str(number),
        }


def test_every_annotation_is_written(tmp_path: Path, make_samples: MakeSamples) -> None:
    mask, objects = np.zeros((6, 8), dtype=np.uint8), np.full((6, 8), 3000, dtype=np.uint16)
    mask[2:4] = 255
    (tmp_path / "mask.png").write_bytes(grey_png(mask))
    image = make_samples(1)[0].image
    sample = Sample(
        "a", image, [1, 0], boxes=[], parts=[(1, 2, True)], mask=tmp_path / "mask.png", objects=grey_png(objects)
    )
    kinds = ["parts", "objects", "mask", "boxes"]
    index = write([sample], tmp_path / "out", annotations=kinds, multi_label=True, part_names=["beak"])
    found = members(tmp_path / "out")
    assert index.annotations == sorted(kinds)
    assert index.class_counts == [1, 1]
    assert list(found) == ["a.png", "a.json", "a.mask.png", "a.objects.png"]
    assert found["a.mask.png"] == grey_png(mask)
    assert found["a.objects.png"] == grey_png(objects)
    record = json.loads(found["a.json"])
    assert (record["label"], record["boxes"], record["parts"]) == ([1, 0], [], [[1.0, 2.0, 1]])
    assert verify(tmp_path / "out", workers=1).problems == []


def test_two_runs_give_the_same_bytes_on_any_number_of_workers(tmp_path: Path, make_samples: MakeSamples) -> None:
    samples = make_samples(20)
    first = write(samples, tmp_path / "first")
    assert write(samples[::-1], tmp_path / "again") == first
    assert write(samples, tmp_path / "pool", workers=2) == first
    assert members(tmp_path / "pool") == members(tmp_path / "first")
    assert [shard.sha256 for shard in write(samples, tmp_path / "other", seed=1).shards] != [
        shard.sha256 for shard in first.shards
    ]


def test_shards_mix_classes(tmp_path: Path, make_samples: MakeSamples) -> None:
    samples = [Sample(f"{n:03d}", make_samples(1)[0].image, n // 20, boxes=[]) for n in range(40)]
    write(samples, tmp_path / "out", shard_size=20)
    for path in (tmp_path / "out").glob("*.tar"):
        with tarfile.open(path) as tar:
            labels = [int(member.name[:3]) // 20 for member in tar if member.name.endswith("json")]
        assert 5 <= sum(labels) <= 15


def test_the_machine_leaves_no_trace_in_a_shard(tmp_path: Path, make_samples: MakeSamples) -> None:
    write(make_samples(2), tmp_path / "out")
    with tarfile.open(tmp_path / "out" / "shard-000000.tar") as tar:
        for member in tar:
            owner = (member.uid, member.gid, member.uname, member.gname)
            assert (member.mtime, owner, member.mode) == (0, (0, 0, "", ""), 0o644)


def test_keys_hold_no_dots_or_slashes() -> None:
    assert make_key("001.Alba/x.y.jpg") == "001_Alba__x_y"
    assert make_key(Path("żółw/ß.JPEG")) == "żółw__ß"


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"label": 2}, {}, "label 2 is outside the 2 classes"),
        ({"key": "a.b"}, {}, "the key 'a.b' is empty or holds a dot"),
        ({"key": "s000"}, {}, "share the key 's000'"),
        ({"extra": {"width": 3}}, {}, "the extra entry 'width'"),
        ({"boxes": None}, {}, "it lacks boxes"),
        ({"parts": [(0, 0, 0)]}, {}, "it has undeclared parts"),
        ({"boxes": [(5, 5, 2, 2)]}, {}, r"box 0 \[5\.0, 5\.0, 2\.0, 2\.0\]"),
        ({"image": b"no image"}, {}, "sample 's002' is no image"),
        ({"mask": grey_png(np.zeros((3, 3), dtype=np.uint8))}, {"annotations": ["boxes", "mask"]}, "lacks mask"),
        (
            {},
            {"annotations": ["depth"]},
            r"annotations\[0\] is 'depth'; give 'boxes', 'counterfactuals', 'mask', 'objects' or 'parts'",
        ),
        ({}, {"shard_size": 0}, "shard_size is 0"),
    ],
)
def test_a_value_that_breaks_the_schema_leaves_nothing(
    tmp_path: Path, make_samples: MakeSamples, change: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    samples = make_samples(3)
    samples[2] = Sample(**{**vars(samples[2]), **change})
    with pytest.raises(ValueError, match=message):
        write(samples, tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_mask_of_another_size_is_refused(tmp_path: Path, make_samples: MakeSamples) -> None:
    mask = grey_png(np.zeros((3, 4), dtype=np.uint8))
    sample = Sample("a", make_samples(1)[0].image, 0, mask=mask)
    with pytest.raises(ValueError, match="the mask of sample 'a' is 4 x 3, its image 8 x 6"):
        write([sample], tmp_path / "out", annotations=["mask"])


def test_samples_that_share_a_key_are_both_named(tmp_path: Path, make_samples: MakeSamples) -> None:
    samples = [Sample("a", tmp_path / name, 0, boxes=[]) for name in ("one.jpg", "two.jpg")]
    with pytest.raises(ValueError, match=r"one\.jpg and .*two\.jpg share the key 'a'"):
        write(samples, tmp_path / "out")


def test_no_samples_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no samples to write"):
        write([], tmp_path / "out")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_missing_file_is_named_and_leaves_nothing(tmp_path: Path, make_samples: MakeSamples, workers: int) -> None:
    samples = [*make_samples(12), Sample("z", tmp_path / "gone.jpg", 0, boxes=[])]
    with pytest.raises(FileNotFoundError, match=r"gone\.jpg does not exist"):
        write(samples, tmp_path / "out", workers=workers)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_midway_leaves_nothing(tmp_path: Path, make_samples: MakeSamples) -> None:
    samples = [*make_samples(12), Sample("z", raise_interrupt, 0, boxes=[])]
    with pytest.raises(KeyboardInterrupt):
        write(samples, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_killed_worker_is_told_and_leaves_nothing(tmp_path: Path, make_samples: MakeSamples) -> None:
    deadly: Callable[[], bytes] = partial(os._exit, 9)
    with pytest.raises(ChildProcessError, match="A worker process was killed"):
        write([*make_samples(7), Sample("z", deadly, 0, boxes=[])], tmp_path / "out", workers=2)
    assert list(tmp_path.iterdir()) == []


def test_a_pool_starts_beside_another_thread(tmp_path: Path, make_samples: MakeSamples) -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        assert write(make_samples(8), tmp_path / "out", workers=2).count == 8
    finally:
        done.set()
        thread.join()


@pytest.fixture
def heard_interrupts() -> Iterator[None]:
    """Shells start background jobs with SIGINT ignored, which the processes that a test starts would inherit."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard_interrupts")
def test_ctrl_c_in_a_script_without_a_main_guard_leaves_nothing(tmp_path: Path, make_samples: MakeSamples) -> None:
    script = tmp_path / "script.py"
    (tmp_path / "image.png").write_bytes(bytes(make_samples(1)[0].image))  # type: ignore[arg-type]
    script.write_text(
        textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from vitrine.data.shards.sample import Sample
        from vitrine.data.shards.writer import write_shards

        def slow():
            time.sleep(0.05)
            return (Path(sys.argv[1]) / "image.png").read_bytes()

        samples = [Sample(f"s{number}", slow, 0) for number in range(510)]
        out = Path(sys.argv[1]) / "sets" / "out"
        write_shards(samples, out, dataset="d", split="s", classes=["c"], annotations=[], shard_size=500, workers=2)
        """)
    )
    root = str(Path(vitrine.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        cwd=root,
        start_new_session=True,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root},
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("sets/.out.partial-*/shard-000001.tar")) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert errors.count(b"Traceback") == 1  # the workers, one of them idle, keep still
    assert list((tmp_path / "sets").iterdir()) == []


@pytest.mark.parametrize("blocked", ["folder", "file"])
def test_an_existing_target_is_left_alone(tmp_path: Path, blocked: str) -> None:
    out = tmp_path / "out"
    precious = out / "precious.txt" if blocked == "folder" else out
    precious.parent.mkdir(exist_ok=True)
    precious.write_text("mine")
    with pytest.raises(FileExistsError, match=r"out exists and is not an empty folder: remove it"):
        write([Sample("a", tmp_path / "never-read.jpg", 0, boxes=[])], out)
    assert precious.read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_an_empty_target_is_filled(tmp_path: Path, make_samples: MakeSamples) -> None:
    (tmp_path / "out").mkdir()
    write(make_samples(2), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert verify(tmp_path / "out", workers=1).problems == []


def test_a_target_filled_meanwhile_is_left_alone(tmp_path: Path) -> None:
    def fill() -> None:
        with atomic_new_folder(tmp_path / "out"):
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "precious.txt").touch()

    with pytest.raises(FileExistsError, match="exists and is not an empty folder"):
        fill()
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "precious.txt"]


def test_a_process_with_other_threads_is_not_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    main, beat, other = (threading.Thread(name=name) for name in ("main", f"{HEARTBEAT}.lock", "other"))
    for threads, method in (([main], "fork"), ([main, beat], "fork"), ([main, other], "spawn")):
        monkeypatch.setattr(threading, "enumerate", lambda threads=threads: threads)
        assert _start_method() == method
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(threading, "enumerate", lambda: [main])
    assert _start_method() == "spawn"


def test_tasks_give_their_results_in_order() -> None:
    assert run_tasks(square, [3, 1, 2], workers=1, total=3, title="square") == [9, 1, 4]


@pytest.mark.parametrize("name", ["box_labels", "box_difficult"])
def test_what_is_said_of_boxes_must_be_said_by_all(tmp_path: Path, make_samples: MakeSamples, name: str) -> None:
    one, *others = make_samples(3)
    told: dict[str, Any] = {name: [1]}
    write([replace(sample, **told) for sample in (one, *others)], tmp_path / "all")
    records = [json.loads(data) for key, data in members(tmp_path / "all").items() if key.endswith("json")]
    assert [record[name] for record in records] == [[1]] * 3
    with pytest.raises(ValueError, match=f"sample 's000' and sample 's001' differ in having {name}: give them to all"):
        write([replace(one, **told), *others], tmp_path / "some")
    assert not (tmp_path / "some").exists()


def _write_slowly(samples: list[Sample], out: Path, ready: Any) -> None:
    from vitrine.data.shards import writer

    original = writer._plan

    def plan(*args: Any) -> Any:
        ready.set()
        time.sleep(1)
        return original(*args)

    writer._plan = plan  # type: ignore[assignment]
    write(samples, out)


def test_a_second_process_waits_and_takes_what_the_first_wrote(
    tmp_path: Path, make_samples: MakeSamples, capsys: pytest.CaptureFixture[str]
) -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    first = context.Process(target=_write_slowly, args=(make_samples(6), tmp_path / "train", ready))
    first.start()
    assert ready.wait(30)
    index = write(make_samples(6), tmp_path / "train")
    first.join()
    assert first.exitcode == 0
    assert f"{tmp_path / 'train'} is being written by process {first.pid}" in capsys.readouterr().err
    assert index == read_index(tmp_path / "train")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train"]
    with pytest.raises(FileExistsError, match="train exists"):
        write(make_samples(6), tmp_path / "train")
    assert write(make_samples(6), tmp_path / "train", reuse=True) == index
