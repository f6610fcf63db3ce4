"""`make setup`: makes what is missing, installs once, again after a change, says in one line why it cannot.

The environment's Python is played by a shell script that notes how it is called, so nothing is downloaded.
"""

import os
import re
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    os.name == "nt" or not shutil.which("make"), reason="needs make and a POSIX shell"
)


@pytest.fixture
def checkout(tmp_path, repository):
    """The files that `make setup` needs, apart from everything else."""
    folder = tmp_path / "check out"
    (folder / "scripts").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "scripts/setup.sh"):
        shutil.copy(repository / name, folder / name)
    return folder


def fake_python(path, log, version_ok=True):
    """A Python that notes its arguments in `log`; `-m venv` makes an environment with a copy of itself."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"""#!/bin/sh
echo "$@" >> "{log}"
case "$*" in
    *ensurepip*) exit {0 if version_ok else 1} ;;
    --version) echo Python 3.12.0 ;;
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
esac
""")
    path.chmod(0o755)
    return path


def make(folder, *arguments, path=None):
    # The tests themselves are run by make, whose variables must not reach this one.
    own = ("VENV", "PYTHON", "ARGS", "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")
    environment = {k: v for k, v in os.environ.items() if k not in own}
    if path is not None:
        environment["PATH"] = str(path)
    return subprocess.run(
        [shutil.which("make"), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def installs(log):
    return [line for line in log.read_text().splitlines() if " pip install " in f" {line} "]


def test_installs_once_and_again_after_a_change(checkout, tmp_path):
    log = tmp_path / "log"
    python = fake_python(tmp_path / "python3.12", log)
    first = make(checkout, "setup", f"PYTHON={python}")
    assert first.returncode == 0, first.stderr
    assert (checkout / ".venv" / "bin" / "python").exists()
    assert len(installs(log)) == 1
    assert installs(log)[0].endswith("-e .[dev,timm,export,annotations,volumes]")

    again = make(checkout, "setup", f"PYTHON={python}")
    assert (again.returncode, again.stdout) == (0, "")
    assert len(installs(log)) == 1

    with (checkout / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    make(checkout, "setup", f"PYTHON={python}")
    assert len(installs(log)) == 2


def test_a_shared_environment_follows_the_checkout(checkout, tmp_path):
    log = tmp_path / "log"
    python = fake_python(tmp_path / "python3.12", log)
    second = tmp_path / "second"
    shutil.copytree(checkout, second)
    shared = tmp_path / "shared"
    for folder, count in ((checkout, 1), (second, 2), (second, 2), (checkout, 3)):
        done = make(folder, "setup", f"VENV={shared}", f"PYTHON={python}")
        assert done.returncode == 0, done.stderr
        assert len(installs(log)) == count
    assert not (checkout / ".venv").exists()


def test_says_what_it_downloads_only_without_torch(checkout, tmp_path):
    log = tmp_path / "log"
    python = fake_python(tmp_path / "python3.12", log)
    assert "5 GB" not in make(checkout, "setup", f"PYTHON={python}").stdout  # the fake one has torch
    python.write_text(python.read_text().replace("esac", "    *find_spec*) exit 1 ;;\nesac"))
    fresh = make(checkout, "setup", f"VENV={tmp_path / 'fresh'}", f"PYTHON={python}").stdout
    assert "5 GB" in fresh
    assert "pip install torch torchvision --index-url" in fresh


def test_no_suitable_python_is_one_line(checkout, tmp_path):
    log = tmp_path / "log"
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("sh", "dirname", "cat", "cksum", "mkdir", "cp", "grep", "awk"):
        (programs / name).symlink_to(shutil.which(name))
    fake_python(programs / "python3", log, version_ok=False)
    done = make(checkout, "setup", path=programs)
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert len(lines) == 1
    assert re.search(r"no Python .*3\.11.*3\.12.*3\.13", lines[0])
    named = make(checkout, "setup", f"PYTHON={programs / 'python3'}")
    assert re.search(rf"PYTHON={programs / 'python3'} .*Python 3\.11", named.stderr)
    assert not (checkout / ".venv").exists()


def test_this_python_suits(repository):
    """The script's version check agrees with pyproject.toml, and the Python that runs the tests passes it."""
    script = (repository / "scripts" / "setup.sh").read_text()
    code = re.search(r"-c '(import ensurepip[^']+)'", script).group(1)
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    lowest, highest = re.search(r"\((3, \d+)\) <= .* < \((3, \d+)\)", code).groups()
    requires = re.search(r'requires-python = "([^"]+)"', (repository / "pyproject.toml").read_text()).group(1)
    assert requires == f">={lowest.replace(', ', '.')},<{highest.replace(', ', '.')}"


def test_help_lists_every_target(repository):
    makefile = (repository / "Makefile").read_text()
    declared = re.search(r"^\.PHONY: (.+)$", makefile, re.M).group(1).split()
    targets = re.findall(r"^([a-z-]+):", makefile, re.M)
    listed = [line.split()[1] for line in make(repository, "help").stdout.splitlines()]
    assert listed == targets == declared
