"""Which of a run's checkpoints is meant, and that torn and flipped ones are found."""

import os
from pathlib import Path

import pytest
import torch

from vitrine.core.checkpoint_files import checkpoint_files, checkpoint_named, checkpoint_of, damage_of, newest_whole


def write(path: Path, age: int) -> Path:
    """A checkpoint that was written so many seconds ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {"state_dict": {"w": torch.arange(5000.0)}, "loops": {"epoch": age}, "callbacks": {"a": "b"}}
    state |= {"pytorch-lightning_version": "2.6.0", "epoch": age, "global_step": age}
    torch.save(state, path)
    os.utime(path, (1e9 - age, 1e9 - age))
    return path


def test_the_newest_comes_first_and_each_file_once(tmp_path: Path) -> None:
    early, late = (write(checkpoint_of(tmp_path, step, step), age) for step, age in ((1, 9), (2, 5)))
    last = late.with_name("last.ckpt")
    os.link(late, last)
    os.link(early, late.with_name("best.ckpt"))
    write(late.with_name(".epoch=3-step=3.ckpt.partial"), 0)
    preempted = write(tmp_path / "hpc_ckpt_1.ckpt", 7)
    assert checkpoint_files(tmp_path) == [last, preempted, early]


def test_every_flipped_byte_and_every_cut_is_found(tmp_path: Path) -> None:
    """Of the members' contents; alignment and the zip's own fields that say nothing of them are left out."""
    path = write(tmp_path / "a.ckpt", 0)
    whole = path.read_bytes()
    assert damage_of(path) is None
    missed = []
    for place in range(0, len(whole), 101):
        flipped = bytearray(whole)
        flipped[place] ^= 0x10
        path.write_bytes(flipped)
        if damage_of(path) is None and not _loads_as_before(path):
            missed.append(place)
        path.write_bytes(whole[:place])
        assert damage_of(path) is not None
    assert missed == []


def _loads_as_before(path: Path) -> bool:
    state = torch.load(path)
    return bool(state["loops"] == {"epoch": 0} and torch.equal(state["state_dict"]["w"], torch.arange(5000.0)))


def test_auto_takes_the_one_before_where_the_newest_is_not_whole(tmp_path: Path) -> None:
    told: list[str] = []
    assert checkpoint_named(tmp_path, "auto", told.append) is None
    assert "holds no checkpoint" in told.pop()
    paths = [write(checkpoint_of(tmp_path, step, step), 9 - step) for step in range(4)]
    for path, content in ((paths[3], b""), (paths[2], paths[2].read_bytes()[:-100])):
        time = path.stat().st_mtime_ns
        path.write_bytes(content)
        os.utime(path, ns=(time, time))
    for name in ("auto", "last"):
        assert checkpoint_named(tmp_path, name, told.append) == paths[1]
        assert str(paths[3]) in told[0]
        assert "is empty" in told[0]
        assert "is torn" in told[1]
        assert f"goes on from {paths[1]}" in told[2]
        told.clear()
    assert newest_whole(tmp_path, told.append) == paths[1]


def test_what_is_not_there_or_not_whole_is_refused(tmp_path: Path) -> None:
    told: list[str] = []
    tell = told.append
    with pytest.raises(FileNotFoundError, match=r"--ckpt_path last: .*last\.ckpt does not exist"):
        checkpoint_named(tmp_path, "last", tell)
    with pytest.raises(FileNotFoundError, match=r"--ckpt_path best: .*--checkpoint\.monitor"):
        checkpoint_named(tmp_path, "best", tell)
    path = tmp_path / "mine.ckpt"
    with pytest.raises(FileNotFoundError, match=r"mine\.ckpt does not exist"):
        checkpoint_named(tmp_path, str(path), tell)
    path.write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"mine\.ckpt is torn"):
        checkpoint_named(tmp_path, str(path), tell)
