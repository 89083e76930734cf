"""Every module has its tests where they are looked for: those of ``vitrine/a/b.py`` in ``tests/vitrine/a/test_b*.py``."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("vitrine", "lightning_modules", "datamodules", "callbacks", "experiments")
SHORT = 40
"""Lines up to which a module may go without tests of its own."""

RECEPTIVE_FIELD = ("attribution/receptive_field/test_receptive_field.py",)
TESTED_ELSEWHERE = {
    # The rules of receptive fields are tried on networks, against the gradients of pixels.
    "vitrine/attribution/receptive_field/dependence.py": RECEPTIVE_FIELD,
    "vitrine/attribution/receptive_field/index_rules.py": RECEPTIVE_FIELD,
    "vitrine/attribution/receptive_field/joining_rules.py": RECEPTIVE_FIELD,
    "vitrine/attribution/receptive_field/local_rules.py": ("attribution/cam/test_alignment.py",),
    "vitrine/attribution/receptive_field/mixing_rules.py": RECEPTIVE_FIELD,
    "vitrine/attribution/receptive_field/operators.py": RECEPTIVE_FIELD,
    "vitrine/attribution/receptive_field/region.py": RECEPTIVE_FIELD,
    "vitrine/attribution/receptive_field/resampling_rules.py": RECEPTIVE_FIELD,
    "vitrine/attribution/receptive_field/window_rules.py": RECEPTIVE_FIELD,
    # One forward pass for several methods, whose maps are compared with those of each alone.
    "vitrine/attribution/shared_pass.py": ("attribution/test_together.py",),
    # What experiment files may say, tried by reading them.
    "experiments/schema.py": ("test_reading.py",),
}
"""Modules that are tested in the files of others, relative to the tests of their room."""


def modules() -> list[Path]:
    """All modules of more lines, relative to the repository."""
    files = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py")) if path.name != "__init__.py"]
    return [path.relative_to(ROOT) for path in files if len(path.read_text(encoding="utf-8").splitlines()) > SHORT]


def own_tests(module: Path) -> list[Path]:
    """Test files that bear a module's name, in the folder that mirrors its own."""
    folder, stem = ROOT / "tests" / module.parent, module.stem.strip("_")
    return sorted({*folder.glob(f"test_{stem}.py"), *folder.glob(f"test_{stem}_*.py")})


def test_every_module_has_tests_under_its_name() -> None:
    without = [str(path) for path in modules() if str(path) not in TESTED_ELSEWHERE and not own_tests(path)]
    assert not without, f"write tests/<folder>/test_<name>.py for: {', '.join(without)}"


@pytest.mark.parametrize("module", TESTED_ELSEWHERE)
def test_what_is_tested_elsewhere_is_tested_there_alone(module: str) -> None:
    assert Path(module) in modules(), f"{module} is gone or short: take it out of TESTED_ELSEWHERE"
    assert not own_tests(Path(module)), f"{module} has tests of its own: take it out of TESTED_ELSEWHERE"
    room = Path(module).parts[0]
    assert all((ROOT / "tests" / room / name).is_file() for name in TESTED_ELSEWHERE[module])


def test_folders_of_tests_mirror_those_of_modules() -> None:
    folders = {
        path.parent.relative_to(ROOT / "tests") for room in ROOMS for path in (ROOT / "tests" / room).rglob("*.py")
    }
    assert [str(folder) for folder in sorted(folders) if not (ROOT / folder).is_dir()] == []
