"""No module is longer than a person reads in one sitting, and no folder is a heap."""

from pathlib import Path

ROOT = Path(__file__).parents[3]
LINES = 500
ENTRIES = 16


def too_long(root: Path) -> dict[str, int]:
    lengths = {
        path.relative_to(root).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for package in ("studio", "watermark")
        for path in sorted((root / package).rglob("*.py"))
    }
    return {name: length for name, length in lengths.items() if length > LINES}


def too_full(root: Path) -> dict[str, int]:
    """Packages with too many modules and packages directly in them."""
    found = {}
    for package in ("studio", "watermark"):
        for init in sorted((root / package).rglob("__init__.py")):
            inside = [
                path
                for path in init.parent.iterdir()
                if path.suffix == ".py" or (path / "__init__.py").is_file()
            ]
            found[init.parent.relative_to(root).as_posix()] = len(inside)
    return {name: count for name, count in found.items() if count > ENTRIES}


def test_no_module_is_longer_than_500_lines():
    assert too_long(ROOT) == {}


def test_no_package_has_more_than_16_entries():
    assert too_full(ROOT) == {}


def test_a_long_module_and_a_full_package_are_found(tmp_path):
    package = tmp_path / "studio"
    package.mkdir()
    (tmp_path / "watermark").mkdir()
    (package / "__init__.py").write_text("x = 1\n" * (LINES + 1))
    for number in range(ENTRIES):
        (package / f"m{number}.py").write_text("")
    assert too_long(tmp_path) == {"studio/__init__.py": LINES + 1}
    assert too_full(tmp_path) == {"studio": ENTRIES + 1}
