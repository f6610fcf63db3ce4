"""What tests must not do: hang on the package's private names, or replace things in it by a string."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
PACKAGE = TESTS.parent / "unet_train"

REPLACING = ("setattr", "delattr", "patch")
"""What these calls are told to replace is an object and a name, so that a rename is found by the import."""

BY_NAME = (*REPLACING, "getattr", "hasattr", "object")


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def defined(tree: ast.AST) -> set[str]:
    """Private names that a module gives to functions, classes, variables and attributes."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
    return {name for name in found if private(name)}


OURS = set().union(*(defined(ast.parse(path.read_text("utf-8"))) for path in PACKAGE.rglob("*.py")))


def text(node: ast.AST) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def faults(code: str) -> list[str]:
    """``line: what`` for each use of a private name of the package, and each replacement by a string."""
    tree = ast.parse(code)
    mine = defined(tree)
    found = []
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "unet_train":
            parts = [*node.module.split("."), *(alias.name for alias in node.names)]
            found += [f"{line}: {part}" for part in parts if private(part)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("unet_train.")]
            found += [f"{line}: {part}" for name in names for part in name.split(".") if private(part)]
        elif isinstance(node, ast.Attribute) and node.attr in OURS - mine:
            found.append(f"{line}: {ast.unparse(node)}")
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func).rpartition(".")[2]
            arguments = [text(argument) for argument in node.args[:2]]
            if called in REPLACING and arguments and arguments[0].startswith("unet_train"):
                found.append(f"{line}: {arguments[0]}")
            elif called in BY_NAME and len(arguments) > 1 and arguments[1] in OURS:
                found.append(f"{line}: {ast.unparse(node.args[0])}.{arguments[1]}")
    return found


@pytest.mark.parametrize(
    "path", sorted(TESTS.rglob("*.py")), ids=lambda path: path.relative_to(TESTS).as_posix()
)
def test_the_package_is_reached_by_its_public_names_alone(path):
    assert faults(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "code",
    [
        "monkeypatch.setattr('unet_train.runs.training.fit', None)",
        "with mock.patch('unet_train.runs.training.fit'): pass",
        "from unet_train.training.losses import _near",
        "from unet_train.training import _losses",
        "import unet_train.training._losses",
        "assert regions._cache == {}",
        "demo.DemoSource._draw(record)",
        "monkeypatch.setattr(demo.DemoSource, '_draw', None)",
        f"getattr(training, '{min(OURS)}')()",
    ],
)
def test_a_wrong_use_is_found(code):
    assert len(faults(code)) == 1


@pytest.mark.parametrize(
    "code",
    [
        "monkeypatch.setattr(training, 'fit', None)",
        "monkeypatch.setattr('socket.create_connection', None)",
        "assert not model._forward_hooks",
        "from mine import _near",
        "from unet_train import __version__",
        "class Mine:\n    def __init__(self):\n        self._cache = {}",
    ],
)
def test_right_uses_are_not(code):
    assert faults(code) == []
