"""Every figure runs from the command line on tiny data, and its result can be rendered."""

from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.figure import find_figures
from benchmarks.render import body
from benchmarks.result import read_result
from tests.support.prefilters import use_small_prefilters

FIGURES = find_figures()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A smoke run measures nothing, so its prefilters may be small."""
    use_small_prefilters(monkeypatch, n_probes=256, n_landmarks=64, n_dims=96)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.mark.filterwarnings("ignore:load average")
@pytest.mark.parametrize("name", FIGURES)
def test_the_figure_runs_and_renders(name: str, home: Path, tmp_path: Path) -> None:
    assert main(["run", name, "--smoke", "--home", str(home), "--results", str(tmp_path)]) == 0
    result = read_result(name, tmp_path)
    assert result["rows"] or result["skipped"]
    figure = FIGURES[name]
    assert result["command"] in body(figure, result, tmp_path / "README.md")
    if figure.plot and result["rows"]:
        figure.plot(result, tmp_path / "plot.svg")
        once = (tmp_path / "plot.svg").read_bytes()
        figure.plot(result, tmp_path / "plot.svg")
        assert (tmp_path / "plot.svg").read_bytes() == once, "a plot must not change from run to run"


def test_a_smoke_run_never_overwrites_a_measured_result(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", next(iter(FIGURES)), "--smoke"]) == 1
    assert "--smoke measures nothing" in capsys.readouterr().err


def test_an_unknown_figure_is_named_with_those_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "nonsense"]) == 1
    assert "no figure 'nonsense'; there are " in capsys.readouterr().err


def test_the_list_shows_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert all(figure.claim in listed for figure in FIGURES.values())
