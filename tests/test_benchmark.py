"""`make bench`: what it lists, that it goes on where it was stopped, that its page says what its JSON lines hold."""

import importlib
import json
import sys

import numpy as np
import pytest
import torch

MACHINE = {
    **{"processor": "a", "cores": 1, "threads": 1, "accelerator": "cpu", "precision": "32"},
    **{"clock": "processor time", "python": "3.11", "libraries": {"torch": "2"}},
}


@pytest.fixture
def benchmark(repository, monkeypatch):
    """A module of scripts/benchmark by its name."""
    monkeypatch.setattr(sys, "path", [str(repository), *sys.path])
    monkeypatch.setattr("logging.disable", lambda level: None)
    return lambda name: importlib.import_module(f"scripts.benchmark.{name}")


def record(**changes):
    values = {"ours": [1.0, 2.0, 4.0], "theirs": [2.0, 2.0, 2.0]}
    told = {
        "row": "step",
        "case": "net",
        "unit": "ms",
        "values": values,
        "goals": {},
        "sizes": {},
        "notes": [],
    }
    return told | {"date": "2026-01-02", "command": "x", "machine": MACHINE} | changes


def test_every_row_and_its_cases_are_listed(benchmark, tmp_path, capsys):
    runner = benchmark("__main__")
    assert runner.main(["--list", "--folder", str(tmp_path)]) == 0
    listed = capsys.readouterr().out
    for name in runner.ROWS:
        row = benchmark(name)
        assert row.TITLE in listed
        assert row.CASES
        assert all(case in listed for case in row.CASES)
    assert not list(tmp_path.iterdir())


def test_it_goes_on_where_it_was_stopped(benchmark, tmp_path, monkeypatch, capsys):
    measuring = benchmark("measuring")
    calls = []

    def case(name, error=None):
        def measure():
            calls.append(name)
            if error:
                raise error
            return measuring.Measurement("ms", {"ours": [1.0], "theirs": [3.0]})

        return measure

    there = {
        "one": case("one"),
        "two": case("two", measuring.Missing("needs x")),
        "three": case("three", OSError("y")),
    }
    monkeypatch.setattr(benchmark("step"), "CASES", {**there, "four": case("four")})
    words = ["--only", "step", "--folder", str(tmp_path)]
    assert benchmark("__main__").main(words) == 1
    assert calls == ["one", "two", "three", "four"]
    assert "needs x" in capsys.readouterr().out
    calls.clear()
    lines = tmp_path / "benchmarks.jsonl"
    lines.write_text(lines.read_text()[:-20])  # as a kill leaves it: "four" is not whole
    monkeypatch.setattr(benchmark("step"), "CASES", {**there, "three": case("three"), "four": case("four")})
    assert benchmark("__main__").main(words) == 0
    assert calls == ["two", "three", "four"]
    assert {json.loads(line)["case"] for line in lines.read_text().splitlines()} == {"one", "three", "four"}
    assert (tmp_path / "images" / "benchmarks.png").is_file()
    calls.clear()
    assert benchmark("__main__").main([*words, "--again"]) == 0
    assert calls == ["one", "two", "three", "four"]


def test_the_page_says_what_its_json_lines_hold(benchmark, repository):
    report, runner = benchmark("report"), benchmark("__main__")
    records = report.read(repository / "docs" / "benchmarks.jsonl")
    rows = {name: benchmark(name) for name in runner.ROWS}
    texts = {name: (row.TITLE, row.ABOUT, list(row.CASES)) for name, row in rows.items()}
    page = (repository / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert page == report.document(records, texts), 'write it anew: make bench ARGS="--folder docs --report"'
    assert {(r["row"], r["case"]) for r in records} <= {
        (n, c) for n in runner.ROWS for c in benchmark(n).CASES
    }


def test_ratios_are_taken_round_by_round(benchmark):
    """2/1, 2/2, 2/4: the median is 1, from 0.5 to 2; that of the medians would be the same, that of the sums not."""
    report = benchmark("report")
    ours, theirs = report.rows_of(record(goals={"theirs": 1.1}))
    assert ours == ["net", "ours", "2.00 ms", "1", "", ""]
    assert theirs == ["", "theirs", "2.00 ms", "1.00", "0.500 to 2.00", "≥ 1.1: missed"]
    assert report.rows_of(record(goals={"theirs": 1.0}))[1][-1] == "≥ 1: met"


def test_growth_is_the_power_of_the_size(benchmark):
    sizes = {"a": 2.0, "b": 8.0, "c": 32.0}
    values = {name: [3 * size**1.5] for name, size in sizes.items()}
    said = benchmark("report").notes_of(record(values=values, sizes=sizes))
    assert said == ["grows with the power 1.50 of it (fitted), 1.50 between the last two"]


def test_figures_of_another_machine_are_refused(benchmark, tmp_path):
    report = benchmark("report")
    report.refuse_others([record()], {**MACHINE, "python": "3.12"}, tmp_path)
    with pytest.raises(SystemExit, match="cores 1, here 2"):
        report.refuse_others([record()], {**MACHINE, "cores": 2}, tmp_path)


def test_variants_take_turns(benchmark):
    order = []
    variants = {"a": lambda: order.append("a"), "b": lambda: order.append("b") or 7.0}
    values = benchmark("measuring").interleaved(variants, rounds=2, warm=1)
    assert order == ["a", "b"] * 3
    assert values["b"] == [7.0, 7.0]
    assert len(values["a"]) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="no peak of resident memory there")
def test_the_peak_is_that_of_the_other_process_alone(benchmark):
    """The kernel's figure for a child begins with what its parent held: this one holds 300 MiB meanwhile."""
    held = np.ones(300 * 2**17)
    peak = benchmark("measuring").peak_mib
    alone, more = peak("pass"), peak("x = bytearray(b'1') * (200 * 2**20)")
    assert alone < 100 < held.nbytes / 2**20
    assert more - alone == pytest.approx(200, abs=10)


def test_a_missing_library_is_said(benchmark):
    notes = []
    assert benchmark("step").library("no_such_library", notes) is None
    assert notes == [
        'no_such_library is not installed, so its figures are left out: pip install -e ".[bench]"'
    ]


def test_the_rebuilt_net_is_milesials(benchmark):
    """31,037,698 parameters with 64 features, 3 channels and 2 classes, as its repository's Carvana net has."""
    with torch.device("meta"):
        net = benchmark("step").Milesial(3, 2, 64)
    assert benchmark("nets").parameters(net) == 31_037_698
    assert benchmark("step").Milesial(1, 3, 4)(torch.zeros(2, 1, 32, 48)).shape == (2, 3, 32, 48)


def test_pure_compute_leaves_the_run_as_it_is(benchmark):
    words = ["encoder=unet", "encoder.init_features=2", "encoder.depth=1"]
    ours = benchmark("nets").OurStep(words, 2, 2, 16)
    ours()
    before = {name: value.clone() for name, value in ours.state.model.state_dict().items()}
    assert benchmark("loop").pure_steps(ours.state, ours.batch, 2) > 0
    for name, value in ours.state.model.state_dict().items():
        assert torch.equal(value, before[name]), name
