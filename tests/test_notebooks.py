"""The notebooks of the documentation run from top to bottom, each in an empty folder, and are kept without results."""

import ast
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "docs").rglob("*.ipynb"))


def cells(path):
    """Source of the code cells, in order."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def run(source, names):
    """Execute a cell as a kernel does; the value of its last line, if that is an expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names) if last else None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_a_notebook_runs(path, own_folder):
    names = {"__name__": "__main__"}
    shown = [run("".join(cell["source"]), names) for cell in cells(path)]
    assert names["model"].data.classes == shown[2][0]
    assert 0 <= names["run"].score <= 1
    assert shown[-1] == (8, 0, [])
    assert len(list((own_folder / "masks" / "masks").iterdir())) == 8


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_a_notebook_is_kept_without_results(path):
    assert [(cell["outputs"], cell["execution_count"]) for cell in cells(path)] == [([], None)] * len(
        cells(path)
    )
