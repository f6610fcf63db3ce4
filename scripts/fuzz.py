"""Coverage-guided fuzzing of what strangers send, by atheris: the mutations follow the branches that they reach.

    pip install atheris
    python scripts/fuzz.py checkpoint|pickle|yaml|words [--runs 5000] [--folder DIR]

The promise is that of the campaigns of tests/stress: a right load or one line, nothing executed, no hang, no memory
without bound. Inputs that reached something new are kept in DIR and are where the next call begins; an input that
breaks the promise ends the call with an error and is kept as DIR/crash-….
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

with atheris.instrument_imports(
    include=["unet_train", "hydra", "omegaconf", "yaml", "zipfile", "pickletools"]
):
    from tests.stress import checkpoints, configs
    from unet_train.config.checks import check_train
    from unet_train.config.compose import compose_train
    from unet_train.errors import UserError, one_line


def checkpoint(data: bytes, case: Path) -> None:
    """The bytes as a checkpoint, by weights.path=."""
    path = case / "x.pt"
    path.write_bytes(data)
    checkpoints.weights(path)


def pickle(data: bytes, case: Path) -> None:
    """The bytes as the pickle of a checkpoint whose checksums are right, by weights.path=."""
    path = case / "x.pt"
    checkpoints.with_pickle(path, checkpoints.written("best"), data)
    checkpoints.weights(path)


def yaml(data: bytes, case: Path) -> None:
    """The bytes as config.yaml of a run folder, by resume=."""
    run = case / "run"
    run.mkdir()
    (run / "last.pt").touch()
    (run / "config.yaml").write_bytes(data)
    check_train(compose_train([f"resume={run}"]).config)


def words(data: bytes, case: Path) -> None:
    """The bytes as words of a command line, one to a line."""
    configs.compose("train", data.decode("utf-8", "surrogateescape").replace("\0", "").split("\n"))


def seeds(name: str) -> list[bytes]:
    """Right inputs, which the mutations start from."""
    if name == "yaml":
        return [configs.run_config().encode()]
    if name == "words":
        usual = [word.format(root=checkpoints.RUN, canary="canary") for word in configs.WORDS["train"]]
        return [word.encode() for word in usual] + ["\n".join(usual[:4]).encode()]
    whole = checkpoints.written("best")
    return [whole if name == "checkpoint" else checkpoints.pickle_of(whole)]


DOORS: dict[str, Callable[[bytes, Path], None]] = {
    door.__name__: door for door in (checkpoint, pickle, yaml, words)
}


def main() -> None:
    """Fuzz one door; atheris ends the process."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("door", choices=list(DOORS))
    parser.add_argument("--runs", type=int, default=5000)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "fuzz")
    options = parser.parse_args()
    folder = (options.folder / options.door).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(options.door)):
        (folder / f"seed-{number}").write_bytes(seed)
    cases = Path(tempfile.mkdtemp(prefix="unet-train-fuzz-"))
    door = DOORS[options.door]

    def one(data: bytes) -> None:
        case = cases / "case"
        case.mkdir()
        try:
            with checkpoints.watched(options.door, case / "executed"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    door(data, case)
                except UserError as error:
                    checkpoints.check_line(one_line(str(error)))
        finally:
            shutil.rmtree(case)

    longest = max(path.stat().st_size for path in folder.glob("seed-*"))
    limits = [
        f"-runs={options.runs}",
        "-seed=1",
        f"-max_len={2 * longest}",
        "-len_control=0",
        "-rss_limit_mb=0",
    ]
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={folder}/", str(folder)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
