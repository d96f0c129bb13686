"""What others wrote and we ship: each file is the one that its manifest names, and each has its licence beside it."""

import hashlib
import json
from pathlib import Path

import pytest

FOLDERS = ("api/static/vendor", "tests/browser/vendor")


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_vendored_file_is_the_one_that_the_manifest_names(root: Path, folder: str) -> None:
    named = {
        file: digest for each in json.loads((root / folder / "manifest.json").read_text())
        for file, digest in each["files"].items()
    }  # fmt: skip
    there = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (root / folder).iterdir()
        if path.name != "manifest.json"
    }
    assert named == there


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_vendored_package_says_version_source_and_licence(root: Path, folder: str) -> None:
    for each in json.loads((root / folder / "manifest.json").read_text()):
        assert each["version"] in each["source"]
        assert each["source"].startswith("https://registry.npmjs.org/")
        assert each["licence"]
        assert any(file.endswith(".LICENSE") for file in each["files"])
