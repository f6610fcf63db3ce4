"""The package as others get it: sdist, wheel, checkout and editable install work from any folder, YAML included.

Nothing is downloaded: the wheel is built in this environment and installed alone, over this environment's
libraries.
"""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest

SHORT = ["experiment=smoke", "trainer.epochs=1", "trainer.samples_per_epoch=4"]


def run(*command, cwd, path=None, code=0):
    """Run a program in `cwd`, with `path` before everything else Python imports; what it said."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "UNET_TRAIN_DATA")}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def built(repository, tmp_path_factory) -> Path:
    """A folder with the sdist, and the wheel that was built from that sdist alone."""
    pytest.importorskip("build", reason="needs the package build (the extra dev)")
    pytest.importorskip("hatchling", reason="needs the package hatchling (the extra dev)")
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, repository, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Path:
    """Folder of an installation of the wheel alone."""
    folder = tmp_path_factory.mktemp("site") / "packages"
    (wheel,) = built.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
    run(*pip, "--disable-pip-version-check", "--target", folder, wheel, cwd=built)
    return folder


def shipped(repository):
    """What the package needs beside its code, by path inside it."""
    configs = {f"configs/{p.relative_to(repository / 'configs').as_posix()}" for p in yaml_files(repository)}
    data = repository / "unet_train" / "data" / "split_files"
    templates = repository / "unet_train" / "reporting" / "templates"
    return (
        configs
        | {f"data/split_files/{p.name}" for p in data.glob("*.json")}
        | {f"reporting/templates/{p.name}" for p in templates.iterdir()}
    )


def yaml_files(repository):
    files = sorted((repository / "configs").rglob("*.yaml"))
    assert len(files) >= 35
    return files


def test_the_wheel_holds_all_code_and_yaml_and_nothing_else(built, repository):
    (wheel,) = built.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    code = {p.relative_to(repository).as_posix() for p in (repository / "unet_train").rglob("*.py")}
    assert names == code | {f"unet_train/{name}" for name in shipped(repository)}


def test_the_sdist_holds_what_it_takes_to_build_and_test(built, repository):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    configs = {p.relative_to(repository).as_posix() for p in yaml_files(repository)}
    assert configs | {"pyproject.toml", "README.md", "LICENSE", "Makefile", "tests/conftest.py"} <= names


def test_the_installed_package_is_the_one_that_runs(installed, tmp_path):
    code = "import unet_train.config.compose as c; print(c.__file__, c.config_folder(), sep='\\n')"
    file, configs = run(sys.executable, "-c", code, cwd=tmp_path, path=installed).splitlines()
    assert Path(file).is_relative_to(installed)
    assert Path(configs) == installed / "unet_train" / "configs"


def test_the_installed_scripts_run_from_an_empty_folder(installed, tmp_path):
    scripts = {p.stem: p for p in (installed / "bin").iterdir()} if os.name != "nt" else {}
    train = [scripts["unet-train"]] if scripts else [sys.executable, "-m", "unet_train.commands.train"]
    evaluate = [scripts["unet-eval"]] if scripts else [sys.executable, "-m", "unet_train.commands.eval"]
    mine = tmp_path / "my yaml" / "encoder"
    mine.mkdir(parents=True)
    (mine / "tiny.yaml").write_text("kind: unet\ninit_features: 2\ndepth: 1\n")
    words = ["--config-dir", "my yaml", *SHORT, "encoder=tiny"]
    # The experiment sets keys of its own encoder; the user's group has the same ones.
    said = run(*train, *words, cwd=tmp_path, path=installed)
    (folder,) = (tmp_path / "runs" / "demo").iterdir()
    assert f"unet-eval ckpt={Path('runs/demo') / folder.name / 'best.pt'}" in said
    assert (folder / "best.pt").is_file()
    assert "none.pt" in run(*evaluate, "ckpt=none.pt", cwd=tmp_path, path=installed, code=2)


def test_a_checkout_works_from_any_folder(repository, tmp_path):
    check = [sys.executable, "-m", "unet_train.commands.data", "check", "dataset=demo", "dataset.size=32"]
    said = run(*check, "dataset.images=6", "dataset.test_images=1", cwd=tmp_path, path=repository)
    assert "no problem found" in said
    code = "from unet_train.config.tree import config_folder; print(config_folder())"
    found = run(sys.executable, "-c", code, cwd=tmp_path, path=repository).strip()
    assert Path(found) == repository / "configs"


def test_an_editable_install_works_from_any_folder(repository, tmp_path):
    try:
        direct = json.loads(distribution("unet-train").read_text("direct_url.json") or "{}")
    except ModuleNotFoundError:
        pytest.skip("unet-train is not installed in this environment")
    if (
        not direct.get("dir_info", {}).get("editable")
        or Path(direct["url"].removeprefix("file://")) != repository
    ):
        pytest.skip("this environment's unet-train is not an editable install of this checkout")
    (script,) = Path(sys.executable).parent.glob("unet-train*")
    said = run(script, "experiment=smok", cwd=tmp_path, code=2)
    assert "smoke?" in said
    assert "exit code" in run(script, "--help", cwd=tmp_path).lower()


def test_the_searchpath_adds_groups_of_ones_own_too(own_folder):
    from unet_train.config.compose import compose_command

    folder = own_folder / "mine" / "optimizer"
    folder.mkdir(parents=True)
    (folder / "slow.yaml").write_text("kind: sgd\nlr: 1e-5\nweight_decay: 0\nmomentum: 0\nnesterov: false\n")
    words = ["optimizer=slow", f"hydra.searchpath=[file://{own_folder / 'mine'}]"]
    assert compose_command("train", words).config.optimizer.lr == 1e-5
    assert compose_command("train", ["optimizer=slow"], str(own_folder / "mine")).config.optimizer.lr == 1e-5
