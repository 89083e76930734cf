"""The package without its optional extras, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDS_SYNTHETIC = {"frames", "generate", "meshes", "ray_casting", "renderer", "scene"}


@pytest.mark.slow
def test_the_package_can_be_imported_without_any_extra() -> None:
    script = ROOT / "tests" / "vitrine" / "without_extras.py"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(script), "--hide"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / "vitrine").rglob("*.py")
        if path.name not in {"__init__.py", "__main__.py"}
    }
    refused = {name: message for name, message in found["refused"].items() if name.startswith("vitrine.")}
    assert modules <= set(found["imported"]) | set(refused)
    assert set(refused) == {f"vitrine.data.an8flower.{name}" for name in NEEDS_SYNTHETIC}
    assert all("pip install 'vitrine[synthetic]'" in message for message in refused.values())
    assert "pip install 'vitrine[timm]'" in found["refused"]["timm"]
    assert "pip install 'vitrine[inpainting]'" in found["refused"]["opencv"]
    assert "pip install 'vitrine[serve]'" in found["refused"]["gradio"]
    assert "pip install 'vitrine[onnx]'" in found["refused"]["onnx"]
