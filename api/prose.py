"""What docstrings say: of a view in its first sentence and the rest, of a type's members in the strings below them."""

import ast
import inspect
import re
from collections.abc import Iterable
from functools import cache
from itertools import pairwise
from types import ModuleType
from typing import Any

from . import shapes


def of_view(view: Any) -> tuple[str, str]:
    """The first sentence of a view's docstring, and the rest of it."""
    first, _, rest = inspect.cleandoc(view.__doc__ or "").partition("\n\n")
    return " ".join(first.split()), " ".join(rest.split())


def of_answer(description: str, status: int) -> str | None:
    """What the rest of a docstring says of one answer, as `202: ...`."""
    found = re.search(rf"\b{status}: (.+?)(?= \d{{3}}: |$)", description)
    return found[1][0].upper() + found[1][1:] if found else None


@cache
def of_members() -> dict[str, dict[str, str]]:
    """By class of `shapes` what is said below its members, and those that it inherits."""
    classes: dict[str, ast.ClassDef] = {}
    for module in vars(shapes).values():
        if isinstance(module, ModuleType) and module.__name__.startswith(shapes.__name__):
            tree = ast.parse(inspect.getsource(module))
            classes |= {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    return {name: _said(name, classes) for name in classes}


def _said(name: str, classes: dict[str, ast.ClassDef]) -> dict[str, str]:
    said: dict[str, str] = {}
    for base in classes[name].bases:
        if isinstance(base, ast.Name) and base.id in classes:
            said |= _said(base.id, classes)
    return said | dict(_below(classes[name].body))


def _below(body: list[ast.stmt]) -> Iterable[tuple[str, str]]:
    for member, below in pairwise(body):
        match member, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(said))):
                yield name, said
