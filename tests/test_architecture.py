"""The arrows between the folders, and which library is let in where, read off the code itself.

An image goes one way: files → records → samples → logits → loss, objects → tables, pictures. Each folder
knows only what lies before it (CONTRIBUTING.md has the picture). A new arrow is a decision: write it down
here and say why.
"""

import ast
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "unet_train"

# What each folder (or file beside them) may import from the package, itself aside.
LEAVES = {
    "errors",
    "atomic",
    "field_types",
    "overrides",
    "nearest",
    "keys",
    "registry",
    "own_objects",
    "symmetries",
    "__init__",
}
BELOW_TRAINING = LEAVES | {
    "preprocessing",
    "demo",
    "data",
    "models",
    "metrics",
    "inference",
    "checkpoint",
    "reporting",
    "log",
}
BELOW_RUNS = BELOW_TRAINING | {"training", "config"}
ARROWS = {
    "__init__": set(),
    "errors": set(),
    "log": set(),
    "atomic": {"errors"},
    "field_types": set(),
    "overrides": set(),
    "nearest": set(),
    "keys": {"nearest"},
    "registry": {"errors"},
    "own_objects": {"errors", "nearest"},
    "symmetries": set(),
    "preprocessing": LEAVES,
    "demo": LEAVES,
    "data": LEAVES | {"preprocessing", "demo"},
    "models": LEAVES,
    "metrics": LEAVES,
    "reporting": LEAVES,
    "inference": LEAVES | {"preprocessing", "data", "models"},
    "checkpoint": LEAVES | {"data", "models", "inference"},
    "training": BELOW_TRAINING,
    "config": LEAVES | {"data", "models"},
    "runs": BELOW_RUNS,
    "api": BELOW_RUNS | {"runs"},
    "planning": BELOW_RUNS | {"runs"},
    "commands": BELOW_RUNS | {"runs", "api", "planning"},
}

# Libraries that only these folders or files know.
KEPT_TO = {
    "hydra": ("config/", "commands/"),
    "omegaconf": ("config/", "commands/"),
    "albumentations": ("data/augmentation/",),
    "tifffile": ("data/io/",),
    "imagecodecs": ("data/io/",),
    "timm": ("models/",),
    "roifile": ("data/annotations/",),
    "nibabel": ("data/io/",),
    "torchvision": ("models/",),
    "matplotlib": ("reporting/",),
    "jinja2": ("reporting/",),
    "tensorboard": ("reporting/",),
    "wandb": ("reporting/",),
    "mlflow": ("reporting/",),
}

# Modules that a misspelt key, --help or --version reaches: quick, so without these.
LIGHT = (
    "__init__.py",
    "errors.py",
    "log.py",
    "nearest.py",
    "keys.py",
    "registry.py",
    "own_objects.py",
    "models/encoders/__init__.py",
    "config/",
    "commands/",
    "data/records.py",
    "data/splits.py",
    "data/io/",
    "data/fetch.py",
    "data/annotations/",
    "data/layouts/",
    "data/targets/",
)
HEAVY = ["torch", "torchvision", "albumentations", "skimage", "matplotlib", "timm"]

COMMANDS = ["train", "eval", "predict", "export", "data", "runs"]


def parse(path):
    """The syntax tree of a file, or the error as a string."""
    try:
        return ast.parse(path.read_text(encoding="utf-8"), str(path))
    except SyntaxError as error:
        return f"{path.name}:{error.lineno}: {error.msg}"


PARSED = {path.relative_to(PACKAGE).as_posix(): parse(path) for path in sorted(PACKAGE.rglob("*.py"))}
MODULES = {module: tree for module, tree in PARSED.items() if isinstance(tree, ast.Module)}


def imports(module, tree):
    """Absolute dotted names that a module imports, anywhere in it: (line, name)."""
    own = ["unet_train", *Path(module).with_suffix("").parts]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(own[: -node.level]) if node.level else ""
            name = ".".join(filter(None, [base, node.module]))
            # `from unet_train import data` imports unet_train.data.
            yield from ((node.lineno, f"{name}.{alias.name}") for alias in node.names)


def folder_of(module):
    return Path(module).with_suffix("").parts[0]


def violations(module, tree):
    """What a module imports against `ARROWS` and `KEPT_TO`, one line each."""
    found = []
    folder = folder_of(module)
    for line, name in imports(module, tree):
        top, *rest = name.split(".")
        if top == "unet_train":
            target = rest[0] if rest and rest[0] in ARROWS else "__init__"
            if target != folder and target not in ARROWS.get(folder, set()):
                found.append(f"{module}:{line}: {folder} must not know {name}")
        elif top in KEPT_TO and not module.startswith(KEPT_TO[top]):
            found.append(f"{module}:{line}: {top} is kept to {', '.join(KEPT_TO[top])}")
    return found


def test_every_file_is_python():
    """Python 3.11 knows less syntax than 3.13: inside an f-string no backslash, for instance."""
    assert [error for error in PARSED.values() if isinstance(error, str)] == []


def python(code):
    """Run code in a new interpreter; what it printed."""
    command = [sys.executable, "-X", "utf8", "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_arrows():
    assert len(MODULES) > 20
    assert [line for module, tree in MODULES.items() for line in violations(module, tree)] == []


def test_no_two_files_import_each_other():
    """Not even inside a function: what belongs together is one file, the rest has one direction."""
    known = {
        ".".join(["unet_train", *Path(module).with_suffix("").parts]).removesuffix(".__init__"): module
        for module in MODULES
    }
    edges = set()
    for module, tree in MODULES.items():
        for _, name in imports(module, tree):
            target = known.get(name) or known.get(name.rpartition(".")[0])
            if target is not None and target != module:
                edges.add((module, target))
    assert sorted((a, b) for a, b in edges if a < b and (b, a) in edges) == []


def test_every_folder_has_its_arrows():
    assert {folder_of(module) for module in MODULES} <= set(ARROWS)
    for folder, targets in ARROWS.items():
        for target in targets:
            assert folder not in ARROWS[target], f"{folder} and {target} know each other"


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("data/io/images.py", "from unet_train.training.loop import train"),
        ("data/io/images.py", "def f():\n    from unet_train import models"),
        ("data/layouts/folder.py", "from ...metrics import confusion"),
        ("metrics/confusion.py", "import unet_train.data.records"),
        ("inference/whole.py", "from unet_train.config import schema"),
        ("training/loop.py", "import hydra.utils"),
        ("data/loading/batches.py", "import albumentations as A"),
    ],
)
def test_a_wrong_import_is_found(module, code):
    assert len(violations(module, ast.parse(code))) == 1


def test_right_imports_are_not():
    code = "import torch\nfrom unet_train import __version__\nfrom ..errors import UserError\nfrom . import b"
    assert violations("data/a.py", ast.parse(code)) == []


def test_first_line_says_why_the_file_exists():
    """Empty files aside."""
    assert [module for module, tree in MODULES.items() if tree.body and not ast.get_docstring(tree)] == []


def test_checkpoints_are_loaded_safely():
    """A pickle can run code: every torch.load says weights_only=True."""
    calls = []
    for module, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                calls.append((f"{module}:{node.lineno}", keywords.get("weights_only")))
    assert calls
    assert [call for call in calls if call[1] != "True"] == []


def test_light_modules_stay_light():
    """Importing them all leaves torch and its kind out."""
    names = [
        ".".join(["unet_train", *Path(module).with_suffix("").parts]).removesuffix(".__init__")
        for module in MODULES
        if module.startswith(LIGHT)
    ]
    assert len(names) > 15
    python(f"""
        import importlib, sys
        [importlib.import_module(name) for name in {names!r}]
        assert not set({HEAVY!r}) & set(sys.modules)
    """)


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_and_version_do_without_torch(flag):
    """Also where importing it would fail."""
    out = python(f"""
        import importlib, sys
        sys.modules.update(dict.fromkeys({HEAVY!r}))
        for name in {COMMANDS!r}:
            sys.argv = ["unet-" + name, {flag!r}]
            try:
                importlib.import_module("unet_train.commands." + name).main()
            except SystemExit as end:
                assert not end.code, end
    """)
    assert len(out.splitlines()) >= len(COMMANDS)
