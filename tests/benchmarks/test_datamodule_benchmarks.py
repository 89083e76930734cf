"""The benchmarks of the datamodules run at a small size, and leave the figures that they print."""

import io
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image

from benchmarks import bare_decoders, decode, stream_scale, streaming
from benchmarks.pictures import photograph
from vitrine.data.preprocessing import Preprocessing


def run(module: ModuleType, monkeypatch: pytest.MonkeyPatch, out: Path, *options: str) -> dict[str, Any]:
    monkeypatch.setattr(sys, "argv", [module.__name__, *options, "--out", str(out)])
    module.main()
    figures: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return figures


def test_stream_scale(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    options = ["--samples", "900", "--shards", "30", "--batch-size", "7", "--window", "100"]
    found = run(stream_scale, monkeypatch, tmp_path / "figures.json", *options)
    assert found["distinct keys"] == 900
    assert found["keys that came twice"] == 0
    assert 0 < found["most open shards in a process"] <= 16
    assert found["same_shard"] < 0.4
    assert len(found["probes"]) == 2


def test_a_slope_is_that_of_the_settled_part() -> None:
    probes = [
        stream_scale.Probe(1000 * number, 500 + (number if number > 3 else 50 * number), 1) for number in range(12)
    ]
    assert stream_scale.slope(probes) == pytest.approx(100)


def test_streaming(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    options = ["--samples", "12", "--width", "40", "--height", "30", "--shard-size", "6", "--rounds", "1"]
    found = run(streaming, monkeypatch, tmp_path / "figures.json", *options, "--workers", "0", "--batch-size", "5")
    assert found["ratio"] == pytest.approx(found["datamodule"][0] / found["bare webdataset loop"][0])


def test_decode(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(photograph(number, 60, 40))
    options = ["--images", str(tmp_path), "--rounds", "1", "--batch-size", "2"]
    threads = torch.get_num_threads()
    found = run(decode, monkeypatch, tmp_path / "figures.json", *options)
    torch.set_num_threads(threads)
    micros = found["microseconds an image"]
    assert found["ours over best bare"] == pytest.approx(micros[decode.OURS] / micros[found["best bare"]])


def test_bare_decoders_agree_within_two_grey_levels() -> None:
    """Pillow's own resize rounds otherwise than torchvision's; the decoders behind torchvision's resize agree exactly."""
    data = photograph(0)
    expected = Preprocessing(bare_decoders.SIZE, bare_decoders.RESIZE)(Image.open(io.BytesIO(data)))
    for name, decoder in bare_decoders.decoders().items():
        found = Preprocessing().normalized({"image": decoder(data)})["image"]
        assert (found - expected).abs().max() <= (0 if "alone" not in name else 2.01 / 255 / 0.224), name


def test_what_is_made_is_as_large_as_a_photograph() -> None:
    assert 70_000 < len(photograph(0)) < 100_000
