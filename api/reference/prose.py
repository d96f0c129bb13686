"""What docstrings say: of a view in its first sentence and the rest, of a type's members in the strings below them."""

import ast
import inspect
import re
from collections.abc import Iterable
from functools import cache
from itertools import pairwise
from types import ModuleType
from typing import Any

from .. import shapes


def of_view(view: Any) -> tuple[str, str, dict[int, str]]:
    """The first sentence of a view's docstring, what follows it, and at the end what each answer is: `202: ...`"""
    first, _, rest = inspect.cleandoc(view.__doc__ or "").partition("\n\n")
    said, *answers = re.split(r"\b(\d{3}): ", " ".join(rest.split()))
    by_status = zip(answers[::2], answers[1::2], strict=True)
    return " ".join(first.split()), said.strip(), {int(status): _sentence(text) for status, text in by_status}


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:].strip()


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
