"""The shape of the repository: what its folders hold, what they import, and what they show to the outside."""

import importlib
import pkgutil
import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

import celeriac
from celeriac.state.queries import Queries

PACKAGES = ("state", "workflows", "beat", "api", "deploy")
PUBLIC = [
    "Abort", "Celeriac", "Cron", "CurrentRun", "DurableTask", "EndedRun", "Event", "Every", "Metadata", "Queue",
    "Retry", "RetryAfter", "Run", "Step", "Token", "Workflow", "complete_token", "create_token", "current_run",
    "gather", "parallel", "patched", "receive", "run_task", "send_event", "sleep", "sleep_until", "step", "trigger",
    "wait_for_event", "wait_for_webhook", "workflow",
]  # fmt: skip
DOORS = {
    "celeriac": PUBLIC,
    "celeriac.workflows": PUBLIC,
    "celeriac.beat": ["Beat", "Scheduler", "services"],
    "celeriac.api": ["create_app", "create_blueprint"],
}
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers"}
# Statements whose name beside that of their file says it all: steps.of_run, workers.stop.
OBVIOUS = {
    "advance", "all", "alive", "due_in_seconds", "get", "history", "newest", "of_parent_step", "of_run", "register",
    "remove", "stop",
}  # fmt: skip
STATE = Path(celeriac.__file__).parent / "state"
STATEMENTS = [
    (file.stem, name, statement)
    for file in sorted(STATE.glob("*.sql"))
    if file.stem != "fragments"  # no statements, but what several share
    for name, statement in Queries(file.name).statements.items()
]
SCRIPTS = sorted((Path(celeriac.__file__).parent / "workflows" / "dispatch" / "lua").glob("*.lua"))
# The places of one machine, and of those who worked there; cut in two, so that this file has none itself.
MACHINE_PATHS = re.compile("/wor" + "k/|/roo" + "t/|/hom" + "e/[a-z]|/User" + "s/[a-z]|C:" + r"\\\\?Users")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_opens_with_its_law(root: Path, package: str) -> None:
    readme = (root / package / "README.md").read_text()
    law = readme.partition("\n## ")[0].strip().splitlines()
    assert law[0].startswith(f"# {package}: ")
    assert 6 <= len(law) <= 30
    assert all(word in readme for word in ("**Owns**", "**May import**", "**Refuses**", "pytest tests/"))


def test_every_package_is_in_the_wheel(root: Path) -> None:
    settings = ConfigParser()
    settings.read(root / "setup.cfg")
    listed = set(settings["options"]["packages"].split())
    found = {path.parent.relative_to(root) for name in PACKAGES for path in (root / name).rglob("__init__.py")}
    assert {"celeriac", *(".".join(["celeriac", *folder.parts]) for folder in found)} == listed


def test_the_root_holds_no_module_but_its_init(root: Path) -> None:
    assert ["__init__.py"] == [path.name for path in root.glob("*.py")]


def test_tests_are_no_package(root: Path) -> None:
    assert [] == list((root / "tests").rglob("__init__.py"))


def test_no_module_has_a_name_that_says_nothing(files: list[Path]) -> None:
    assert [] == [path for path in files if path.suffix in (".py", ".sql", ".lua", ".js") and path.stem in VAGUE]


def test_no_file_mentions_the_paths_of_a_machine(root: Path, files: list[Path]) -> None:
    found = []
    for path in files:
        text = path.read_text(errors="replace")
        found += [f"{path.relative_to(root)}: {match.group()}" for match in MACHINE_PATHS.finditer(text)]
    assert [] == found


def test_exporters_of_opentelemetry_live_in_beat(root: Path) -> None:
    # Import-linter knows no parts of foreign packages.
    found = [
        str(path.relative_to(root))
        for package in PACKAGES
        for path in (root / package).rglob("*.py")
        if "opentelemetry.exporter" in path.read_text()
    ]
    assert ["beat/otlp.py"] == found


@pytest.mark.parametrize("package", ["state", "workflows", "beat", "api"])
def test_a_package_imported_under_its_bare_name_is_refused(root: Path, package: str) -> None:
    told = python(f"import {package}", root)
    assert "ImportError" in told
    if package == "state":
        assert "import celeriac.state, not state" in told


def test_no_module_of_ours_is_loaded_under_a_bare_name(root: Path) -> None:
    modules = [
        name
        for package in PACKAGES
        for _, name, _ in pkgutil.walk_packages([str(root / package)], f"celeriac.{package}.")
        if name not in ("celeriac.deploy.__main__", "celeriac.state.migrations.env")  # these do something
    ]
    assert len(modules) > 60
    code = f"""
import importlib, sys
for name in {modules!r}:
    importlib.import_module(name)
for name, module in sys.modules.items():
    if name.partition(".")[0] in {PACKAGES!r} and str(getattr(module, "__file__", "")).startswith({str(root)!r}):
        print("loaded as", name)
"""
    assert "" == python(code, root)


@pytest.mark.parametrize("door", DOORS)
def test_the_public_names_are_these_and_sorted(door: str) -> None:
    module = importlib.import_module(door)
    assert DOORS[door] == module.__all__
    assert sorted(DOORS[door]) == DOORS[door]
    assert all(hasattr(module, name) for name in DOORS[door])


def test_every_statement_of_state_is_found() -> None:
    assert len(STATEMENTS) > 40
    assert {file.stem for file in STATE.glob("*.sql")} - {"fragments"} <= {file.stem for file in STATE.glob("*.py")}


@pytest.mark.parametrize(("noun", "verb", "statement"), STATEMENTS, ids=[f"{n}.{v}" for n, v, _ in STATEMENTS])
def test_every_statement_has_a_line_of_prose_or_an_obvious_name(noun: str, verb: str, statement: str) -> None:
    assert statement.startswith("-- ") or verb in OBVIOUS


@pytest.mark.parametrize(("noun", "verb", "statement"), STATEMENTS, ids=[f"{n}.{v}" for n, v, _ in STATEMENTS])
def test_every_statement_is_used_by_the_module_beside_it(noun: str, verb: str, statement: str) -> None:
    assert re.search(rf"\bSQL\.{verb}\b", (STATE / f"{noun}.py").read_text()), f"{noun}.sql: nobody uses {verb!r}"


@pytest.mark.parametrize("script", SCRIPTS, ids=[script.stem for script in SCRIPTS])
def test_every_lua_script_says_what_it_takes_and_returns(script: Path) -> None:
    header, _, body = script.read_text().partition("\n\n")
    lines = header.splitlines()
    assert lines[0].startswith(f"-- {script.stem}: ")
    assert all(line.startswith("--") for line in lines)
    assert "-- KEYS" in header
    assert "-- Returns" in header
    assert "ARGV" not in body or "-- ARGV" in header


@pytest.mark.parametrize("script", SCRIPTS, ids=[script.stem for script in SCRIPTS])
def test_every_lua_script_is_used(root: Path, script: Path) -> None:
    assert re.search(rf'"{script.stem}(\.lua)?"', (root / "workflows" / "dispatch" / "buckets.py").read_text())


def test_imports_go_one_way(root: Path) -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stdout


def python(code: str, folder: Path) -> str:
    """What another Python in this folder says to this code, errors included."""
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr
