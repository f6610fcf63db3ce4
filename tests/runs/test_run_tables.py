"""unet-runs on made-up run folders; means, intervals and differences by hand."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from unet_train.metrics.pooled import ImageCounts, PooledCounts
from unet_train.runs.counts_file import write_counts

CLASSES = ("background", "cell")


def random_images(names, quality, seed=0):
    """Images of these names with 400 true pixels each, of which about `quality` are found."""
    rng = np.random.default_rng(seed)
    images = []
    for name in names:
        hit = int(np.clip(rng.normal(quality, 0.08), 0.05, 0.98) * 400)
        counts = np.array([[580, 20], [400 - hit, hit]])
        images.append(ImageCounts.of(name, "", counts))
    return images


def write_run(
    folder, *, images=None, val=(0.5, 0.7), classes=CLASSES, part="test", metrics=(), split=None, **keys
):
    """A run folder with the files that unet-runs reads; keys with __ for a dot. The images of its evaluation."""
    tree = {
        "encoder": {"kind": "unet", "depth": 4},
        "dataset": {"name": "lab"},
        "split": {"fold": None, "folds": None},
    }
    tree |= {"seed": 0, "checkpoint": {"monitor": "iou/mean"}, "trainer": {"workers": len(folder.name)}}
    for name, value in keys.items():
        *sections, last = name.split("__")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[last] = value
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(tree))
    rows = [f"{e},{e * 8},1.0,{score},{score}" for e, score in enumerate(val, 1)]
    (folder / "metrics.csv").write_text("\n".join(["epoch,step,val/loss,val/iou/cell,val/iou/mean", *rows]))
    (folder / "split.json").write_text(json.dumps(split or {"val": ["v"]}))
    if images is not None:
        pooled = PooledCounts.of(images, classes, background=True)
        out = folder / "eval" / f"lab-{part}"
        out.mkdir(parents=True)
        write_counts(out / "counts.csv", images, classes)
        best = 1 + int(np.argmax(val))
        content = pooled.scores() | {"intervals": pooled.intervals(), "background": True, "epoch": best}
        content |= {"interval_unit": pooled.unit, "part": part} | dict(metrics)
        (out / "metrics.json").write_text(json.dumps(content))
    return images


@pytest.fixture
def said(run_command, capsys):
    """What a command prints, and what it complains of: one line with exit code 2."""

    def say(*words, code=0):
        assert run_command("runs", *words) == code
        out, err = capsys.readouterr()
        assert err.count("\n") == (code == 2)
        return err if code else out

    return say


@pytest.fixture
def run_command():
    """Needs no torch, and no more than the command itself."""
    from unet_train.commands import runs, shell

    return lambda name, *words: shell.run(name, runs.runs, [str(word) for word in words])


def names(count=12, start=0):
    return [f"im_{i:02}" for i in range(start, start + count)]


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def iou(images, chosen=None):
    """Of the foreground, over all or some images."""
    images = [images[i] for i in (range(len(images)) if chosen is None else chosen)]
    hit, true, predicted = (sum(int(image.pixels[row, 1]) for image in images) for row in range(3))
    return hit / (true + predicted - hit)


# --- list --------------------------------------------------------------------------------------------------
def test_list_shows_what_differs_and_the_scores(tmp_path, said):
    images = write_run(tmp_path / "runs/a", images=random_images(names(), 0.8), optimizer__lr=0.1)
    write_run(tmp_path / "runs/deep/b", encoder__kind="resnet", encoder__pretrained=True, optimizer__lr=0.01)
    write_run(tmp_path / "runs/.hidden/c")
    (tmp_path / "runs/deep/nothing").mkdir()
    text = said("list", tmp_path / "runs", f"csv={tmp_path / 'out.csv'}", f"plot={tmp_path / 'out.png'}")
    assert "2 runs" in text
    rows = read_csv(tmp_path / "out.csv")
    assert [Path(row["run"]).name for row in rows] == ["a", "b"]
    assert [(row["encoder"], row["lr"], row["epochs"]) for row in rows] == [
        ("unet", "0.1", "2"),
        ("resnet", "0.01", "2"),
    ]
    assert not {"workers", "depth", "pretrained", "name", "seed"} & set(rows[0]), (
        "alike, of one alone, or no matter"
    )
    assert [float(row["val iou/mean"]) for row in rows] == [0.7, 0.7]
    assert float(rows[0]["test iou/mean"]) == pytest.approx(iou(images), abs=1e-5)
    low, high = PooledCounts.of(images, CLASSES, background=True).intervals()["iou/mean"]
    assert f"{low:.3f}–{high:.3f}" in text
    assert float(rows[0]["test iou/mean low"]) == pytest.approx(low, abs=1e-5)
    assert rows[1]["test iou/mean"] == ""
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_an_evaluation_of_another_epoch_is_told(tmp_path, said):
    write_run(tmp_path / "runs/a", images=random_images(names(), 0.8), metrics={"epoch": 1})
    write_run(tmp_path / "runs/b", images=random_images(names(), 0.8))
    (line,) = [line for line in said("list", tmp_path / "runs").splitlines() if "warning" in line]
    assert "1 evaluated at another epoch" in line
    assert "runs/a" in line


# --- compare -----------------------------------------------------------------------------------------------
def test_seeds_are_averaged_and_differences_are_paired(tmp_path, said):
    """By hand: the same draws for both, each seed's counts pooled, seeds averaged."""
    quality = {("unet", 0): 0.7, ("unet", 1): 0.72, ("resnet", 0): 0.75, ("resnet", 1): 0.76}
    images = {
        (encoder, seed): write_run(
            tmp_path / "runs" / f"{n}-{encoder}",
            # The same images are hard for both: what makes a paired difference surer than two intervals.
            images=random_images(names(20), q, seed=7),
            seed=seed,
            encoder__kind=encoder,
        )
        for n, ((encoder, seed), q) in enumerate(quality.items())
    }
    text = said("compare", tmp_path / "runs", f"csv={tmp_path / 'out.csv'}", f"plot={tmp_path / 'out.svg'}")
    unet, resnet = read_csv(tmp_path / "out.csv")
    assert (unet["encoder"], resnet["encoder"], unet["runs"]) == ("unet", "resnet", "2")
    of = {encoder: [iou(images[encoder, seed]) for seed in (0, 1)] for encoder in ("unet", "resnet")}
    for row, encoder in ((unet, "unet"), (resnet, "resnet")):
        assert float(row["mean"]) == pytest.approx(np.mean(of[encoder]), abs=1e-5)
        assert float(row["± sd"]) == pytest.approx(np.std(of[encoder], ddof=1), abs=1e-5)
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(1000):
        chosen = rng.integers(20, size=20)
        draws.append([np.mean([iou(images[e, s], chosen) for s in (0, 1)]) for e in ("unet", "resnet")])
    draws = np.array(draws)
    low, high = np.percentile(draws[:, 0], [2.5, 97.5])
    assert (float(unet["pooled low"]), float(unet["pooled high"])) == pytest.approx((low, high), abs=1e-5)
    low, high = np.percentile(draws[:, 1] - draws[:, 0], [2.5, 97.5])
    bounds = float(resnet["difference low"]), float(resnet["difference high"])
    assert bounds == pytest.approx((low, high), abs=1e-5)
    assert bounds[0] > 0, "told apart, although the two intervals overlap"
    assert float(resnet["pooled low"]) < float(unet["pooled high"])
    assert float(resnet["difference"]) == pytest.approx(np.mean(of["resnet"]) - np.mean(of["unet"]), abs=1e-4)
    assert unet["difference"] == ""
    assert "20 images" in text
    assert (tmp_path / "out.svg").read_text().startswith("<?xml")


def test_folds_are_pooled(tmp_path, said):
    """Each image in one fold; the pooled score is of all their pixels, the deviation over the folds."""
    parts = [
        write_run(
            tmp_path / "runs" / f"fold {fold}",
            images=random_images(names(4, 4 * fold), 0.5 + 0.1 * fold, seed=fold),
            split__fold=fold,
            split__folds=3,
        )
        for fold in range(3)
    ]
    text = said("compare", tmp_path / "runs", f"csv={tmp_path / 'out.csv'}")
    (row,) = read_csv(tmp_path / "out.csv")
    assert float(row["pooled"]) == pytest.approx(iou([image for part in parts for image in part]), abs=1e-5)
    assert float(row["mean"]) == pytest.approx(np.mean([iou(part) for part in parts]), abs=1e-5)
    assert float(row["± sd"]) == pytest.approx(np.std([iou(part) for part in parts], ddof=1), abs=1e-5)
    assert "12 images" in text
    assert "folds 0, 1, 2" in text


def test_a_missing_fold_is_named(tmp_path, said):
    for fold in (0, 2):
        images = random_images(names(4, 4 * fold), 0.7)
        write_run(tmp_path / "runs" / f"{fold}", images=images, split__fold=fold, split__folds=3)
    assert "split.fold=1 is missing" in said("compare", tmp_path / "runs", code=2)


def test_a_fold_that_one_seed_lacks_is_named(tmp_path, said):
    for seed, fold in ((0, 0), (0, 1), (1, 0)):
        images = random_images(names(4, 4 * fold), 0.7)
        folder = tmp_path / "runs" / f"{seed}-{fold}"
        write_run(folder, images=images, split__fold=fold, split__folds=2, seed=seed)
    error = said("compare", tmp_path / "runs", code=2)
    assert "split.fold=1 is missing" in error
    assert "seed 1" in error


def test_measured_keys_do_not_tear_folds_apart_but_set_ones_count(tmp_path, said):
    for fold in range(2):
        images = random_images(names(4, 4 * fold), 0.7)
        folder = tmp_path / "runs" / f"{fold}"
        write_run(
            folder, images=images, split__fold=fold, split__folds=2, dataset__intensity_range=[0, 4000 + fold]
        )
    said("compare", tmp_path / "runs", f"csv={tmp_path / 'a.csv'}")
    assert len(read_csv(tmp_path / "a.csv")) == 1
    for low in (0, 100):
        images = random_images(names(), 0.7)
        write_run(tmp_path / "set" / f"{low}", images=images, dataset__intensity_range=[low, 4000])
    said("compare", tmp_path / "set", f"csv={tmp_path / 'b.csv'}")
    assert [row["intensity_range"] for row in read_csv(tmp_path / "b.csv")] == ["[0, 4000]", "[100, 4000]"]


def test_without_evaluations_the_validation_is_compared_and_that_is_said(tmp_path, said):
    for i, lr in enumerate((0.1, 0.1, 0.01)):
        write_run(tmp_path / "runs" / f"{i}", val=(0.9, 0.5 + 0.1 * i), optimizer__lr=lr, seed=i)
    text = said("compare", tmp_path / "runs", f"csv={tmp_path / 'out.csv'}")
    rows = read_csv(tmp_path / "out.csv")
    assert [(row["lr"], float(row["mean"]), row["runs"]) for row in rows] == [
        ("0.1", 0.9, "2"),
        ("0.01", 0.9, "1"),
    ]
    assert "no intervals" in text
    assert "validation" in text
    assert "pooled" not in rows[0]


def test_dice_per_patient_is_drawn_over_patients(tmp_path, said):
    dice = {}
    for shift in (0.0, 0.05):
        folder = tmp_path / "runs" / f"{shift}"
        metrics = {"dice_per_patient/mean": 0.6 + shift, "interval_unit": "patients"}
        write_run(folder, images=random_images(names(), 0.8), metrics=metrics, optimizer__lr=shift)
        values = np.linspace(0.3, 0.9, 8) + shift
        rows = [f"p{i},3,9,9,{value},{value}" for i, value in enumerate(values)]
        head = "patient,slices,true_voxels,predicted_voxels,dice,dice_largest"
        (folder / "eval/lab-test/per_patient.csv").write_text("\n".join([head, *rows]))
        dice[shift] = values
    words = ["score=dice_per_patient/mean", f"csv={tmp_path / 'out.csv'}"]
    text = said("compare", tmp_path / "runs", *words)
    first, second = read_csv(tmp_path / "out.csv")
    rng = np.random.default_rng(0)
    draws = [dice[0.0][rng.integers(8, size=8)].mean() for _ in range(1000)]
    bounds = float(first["pooled low"]), float(first["pooled high"])
    assert bounds == pytest.approx(np.percentile(draws, [2.5, 97.5]), abs=1e-5)
    assert float(second["difference low"]) == pytest.approx(0.05, abs=1e-6)
    assert float(second["difference high"]) == pytest.approx(0.05, abs=1e-6)
    assert "8 patients" in text


# --- best --------------------------------------------------------------------------------------------------
def test_best_is_one_folder_by_the_validation_unless_a_part_is_named(tmp_path, said):
    """Choosing by the test part is selection on the test part: it has to be asked for."""
    write_run(tmp_path / "runs/a", val=(0.1, 0.9, 0.3), images=random_images(names(), 0.6))
    write_run(tmp_path / "runs/b", val=(0.2, 0.3, 0.8), images=random_images(names(), 0.9), seed=1)
    assert said("best", tmp_path / "runs") == f"{tmp_path / 'runs/a'}\n"
    assert said("best", tmp_path / "runs", "part=test") == f"{tmp_path / 'runs/b'}\n"
    assert (
        said("best", tmp_path / "runs/b", tmp_path / "runs/a", "score=iou/cell") == f"{tmp_path / 'runs/a'}\n"
    )


def test_folders_may_be_named_by_what_was_varied(tmp_path, said, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(Path("score=seed=1"), val=(0.5,))
    write_run(Path("seed=2"), val=(0.6,), seed=2)
    assert said("best", "seed=2") == "seed=2\n"
    assert said("best", "./score=seed=1", "seed=2") == "seed=2\n"


# --- one line ----------------------------------------------------------------------------------------------
@pytest.fixture
def two(tmp_path):
    """Two runs that can be compared."""
    for seed in (0, 1):
        write_run(tmp_path / f"runs/r{seed}", images=random_images(names(), 0.8), optimizer__lr=seed)
    return tmp_path / "runs"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["list", "{}/../rnus"], "rnus: no such folder (did you mean runs?)"),
        (["list", "{}/r0/eval"], "eval: holds no run"),
        (["lost", "{}"], "did you mean list?"),
        ([], "what is to be done? unet-runs list, compare or best"),
        (["compare", "{}", "score=iou/cel"], "iou/cel: {}/r0 has no such score (did you mean iou/cell?)"),
        (["best", "{}", "score=iou/cel"], "iou/cell"),
        (["list", "{}", "score=iou/cel"], "score=iou/cel"),
        (["compare", "{}", "part=val"], "no evaluation of part=val"),
        (["compare", "{}", "part=tset"], "part=tset"),
        (["list", "{}", "plto=x.png"], "plot"),
        (["list", "{}", "plot=x.docx"], ".png"),
        (["list", "{}", "csv={}/none/x.csv"], "csv="),
        (["best", "{}", "csv=x.csv"], "csv"),
        (["list", "-m", "{}"], "sweeps"),
    ],
)
def test_one_line(two, said, words, says):
    assert says.replace("{}", str(two)) in said(*[word.replace("{}", str(two)) for word in words], code=2)


def test_the_default_folder_is_missing(tmp_path, said, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "runs: no such folder" in said("list", code=2)


def test_runs_that_cannot_be_compared(tmp_path, said):
    def error(name, *more, **keys):
        write_run(tmp_path / name / "a", images=random_images(names(), 0.8))
        write_run(tmp_path / name / "b", **keys)
        return said("compare", tmp_path / name, *more, code=2)

    images = random_images(names(), 0.8)
    assert "other classes" in error("classes", images=images, classes=("background", "nucleus"), seed=1)
    text = error("images", images=random_images(names(12, 1), 0.8), optimizer__lr=3)
    assert "other images" in text
    assert "im_00" in text
    assert "one seed" in error("twice", images=images)
    assert "other images" in error("validation", split={"val": ["w"]}, optimizer__lr=3)
    assert "score is missing" in error("monitors", images=images, checkpoint__monitor="iou/cell")


def test_damaged_files_are_named(two, said):
    counts = two / "r1/eval/lab-test/counts.csv"
    counts.write_text(counts.read_text().replace("400", "x"))
    assert "counts.csv" in said("compare", two, code=2)
    (two / "r0/metrics.csv").write_text("epoch,val/iou/mean\n1,many")
    assert "metrics.csv" in said("list", two, code=2)
    (two / "r0/config.yaml").write_text("a: [")
    assert "config.yaml" in said("list", two, code=2)


def test_it_does_without_torch(two):
    code = (
        "import sys\nfrom unet_train.commands import runs, shell\n"
        f"assert shell.run('runs', runs.runs, ['compare', {str(two)!r}]) == 0\n"
        "assert not {'torch', 'matplotlib', 'albumentations'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
