"""Shell completion: what a word may become, and that bash makes that of it."""

import shutil
import subprocess
import sys

import pytest

from unet_train.config.completion import ACTIONS, SHELLS, candidates, script
from unet_train.errors import UserError


@pytest.mark.parametrize(
    ("command", "words", "word", "found"),
    [
        ("train", [], "enc", ["encoder.", "encoder="]),
        ("train", ["encoder=timm"], "encoder.", ["encoder.name="]),
        ("train", [], "dataset=f", ["dataset=folder"]),
        ("train", ["dataset=folder"], "dataset.unl", ["dataset.unlabelled="]),
        (
            "train",
            ["dataset=folder"],
            "dataset.unlabelled=",
            ["dataset.unlabelled=refuse", "dataset.unlabelled=leave_out"],
        ),
        ("train", ["experiment=dic_hela"], "encoder.", ["encoder.name="]),
        ("train", [], "trainer.compile=", ["trainer.compile=true", "trainer.compile=false"]),
        ("train", [], "hydra", ["hydra."]),
        ("eval", [], "part=t", ["part=train", "part=test"]),
        ("data", [], "", list(ACTIONS["data"])),
        ("data", ["check"], "dataset=fo", ["dataset=folder"]),
        ("runs", [], "c", ["compare"]),
        ("predict", [], "nothing", []),
    ],
)
def test_what_a_word_may_become(command, words, word, found):
    assert candidates(command, words, word) == found


def test_paths_are_completed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_images").mkdir()
    (tmp_path / "my.pt").touch()
    assert candidates("eval", [], "ckpt=my") == ["ckpt=my.pt", "ckpt=my_images/"]


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash here")
@pytest.mark.parametrize(
    ("breaks", "reply"), [(" =:", ["leave_out"]), (" ", ["dataset.unlabelled=leave_out"])], ids=["=", "whole"]
)
def test_bash_completes_a_word_by_its_own_ends(tmp_path, breaks, reply):
    """Bash takes what stands after = for the word, unless told otherwise."""
    program = tmp_path / "unet-train"
    code = (
        "from unet_train.commands import shell; import sys; sys.exit(shell.run('train', None, sys.argv[1:]))"
    )
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}" "$@"\n')
    program.chmod(0o755)
    line = "unet-train dataset=folder dataset.unlabelled=l"
    lines = [
        script("bash"),
        f"COMP_WORDBREAKS='{breaks}' COMP_LINE='{line}' COMP_POINT={len(line)}",
        f"_unet_complete '{program}'",
        "printf '%s\\n' \"${COMPREPLY[@]}\"",
    ]
    done = subprocess.run(["bash", "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == reply


def test_every_command_is_completed_by_every_shells_script():
    for shell in SHELLS:
        assert "unet-train unet-eval unet-predict" in script(shell)
        if shutil.which(shell) and shell != "fish":
            subprocess.run([shell, "-n", "-c", script(shell)], check=True)
    with pytest.raises(UserError, match="--completion tcsh: choose one of bash, zsh, fish"):
        script("tcsh")
