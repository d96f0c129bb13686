"""What the documentation says is so: its code runs, its numbers are those of the code, its links lead somewhere."""

import importlib
import itertools
import linecache
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import NamedTuple

import pytest
from celery import Celery, current_app

import celeriac
from celeriac import Celeriac
from celeriac.api.access.scopes import SCOPES
from celeriac.deploy import cli
from celeriac.workflows import registry
from celeriac.workflows.settings import Settings

ROOT = Path(celeriac.__file__).parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")), *ROOT.glob("*/README.md")]
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


class Block(NamedTuple):
    """A ```python block. A `# fragment` says what its neighbours mean, and is compiled only."""

    page: str
    line: int
    code: str

    @property
    def is_fragment(self) -> bool:
        return self.code.startswith("# fragment")


def blocks() -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text()
        for match in PYTHON.finditer(text):
            yield Block(str(page.relative_to(ROOT)), text.count("\n", 0, match.start()) + 2, match.group(1))


BLOCKS = list(blocks())
WHOLE = [block for block in BLOCKS if not block.is_fragment]


@pytest.fixture
def a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No workflow is defined, no app is bound, no server is known; what the code of a page makes is forgotten after."""
    monkeypatch.setattr(registry, "_workflows", {})
    monkeypatch.setattr(registry, "_bound", [])
    monkeypatch.setenv("GITHUB_SECRET", "a secret of the test")
    for name in ("CELERY_BROKER_URL", "CELERIAC_DATABASE_URL", "CELERIAC_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    before = current_app._get_current_object()
    Celeriac(Celery("docs"))  # for code that brings no app
    yield
    before.set_current()


@pytest.mark.parametrize("block", BLOCKS, ids=[f"{block.page}:{block.line}" for block in BLOCKS])
def test_every_block_of_python_compiles(block: Block) -> None:
    compile(block.code, f"{block.page}:{block.line}", "exec")


@pytest.mark.usefixtures("a_process_of_its_own")
@pytest.mark.parametrize("block", WHOLE, ids=[f"{block.page}:{block.line}" for block in WHOLE])
def test_every_whole_block_runs_without_servers(block: Block) -> None:
    file = f"<{block.page}:{block.line}>"
    linecache.cache[file] = (len(block.code), None, block.code.splitlines(keepends=True), file)
    namespace: dict[str, object] = {"__name__": f"block_{block.line}"}
    exec(compile(block.code, file, "exec"), namespace)
    for workflow in registry.workflows().values():  # what a worker would tell Postgres of it
        assert workflow.schema.json_schema()["type"] == "object"
        assert workflow.version


def test_the_code_of_the_readme_is_an_app_that_celery_finds() -> None:
    first = next(block.code for block in WHOLE if block.page == "README.md")
    assert first.startswith("# shop.py\n")
    assert 'app = Celery("shop")\ndurable = Celeriac(app)\n' in first


def test_the_settings_page_lists_every_setting_with_its_default() -> None:
    given = {field.name: field.default for field in fields(Settings)}
    assert MISSING not in given.values()
    told = dict(rows("operating.md", "Settings"))
    assert {name: f"`{default}`" if default != "" else "none" for name, default in given.items()} == told


def test_the_page_of_operations_lists_every_command() -> None:
    named = {name.split()[0] for name, _ in rows("operating.md", "Commands")}
    assert set(cli.COMMANDS) == named


def test_the_page_of_the_api_lists_every_scope() -> None:
    assert SCOPES == {
        name: told.removesuffix(" |").replace("`", "") for name, told in rows("http.md", "Keys and scopes")
    }


def test_the_numbers_of_the_guarantees_are_those_of_the_code() -> None:
    numbers = section("guarantees.md", "Numbers")
    told = re.findall(r"^\|[^|]*\| ([\d.]+)(?: (?:s|ms))? \| `([\w.]+)` \|$", numbers, re.MULTILINE)
    assert len(told) == numbers.count("`celeriac.")
    for value, name in told:
        assert float(value) == float(constant(name)), name


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in LINK.findall(page.read_text()):
        file, _, anchor = target.partition("#")
        if "://" in file:
            continue
        aimed = (page.parent / file).resolve() if file else page
        if not aimed.exists() or (anchor and anchor not in anchors(aimed)):
            broken.append(target)
    assert [] == broken


def section(page: str, heading: str) -> str:
    """The text under a heading, up to the next one."""
    return (ROOT / "docs" / page).read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def rows(page: str, heading: str) -> Iterator[tuple[str, str]]:
    """First (without its backquotes) and second cell of each row of the first table under a heading."""
    lines = itertools.dropwhile(lambda line: not line.startswith("|"), section(page, heading).splitlines())
    for line in list(itertools.takewhile(lambda line: line.startswith("|"), lines))[2:]:
        first, second = line.split(" | ")[:2]
        yield first.removeprefix("| ").strip("`"), second.strip()


def constant(name: str) -> float:
    """The value of `package.module.NAME` or `package.module.Class.name`; of a dataclass's field its default."""
    parts = name.split(".")
    if parts[-2][0].isupper():
        owner = getattr(importlib.import_module(".".join(parts[:-2])), parts[-2])
        defaults = {field.name: field.default for field in fields(owner)} if owner is Settings else {}
        return float(defaults.get(parts[-1], vars(owner).get(parts[-1])))
    return float(getattr(importlib.import_module(".".join(parts[:-1])), parts[-1]))


def anchors(page: Path) -> set[str]:
    """The anchors that its headings have on GitHub."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
