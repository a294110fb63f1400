"""`epochwatch runs | compare | baseline`: what people see, what programs read, and the exit codes."""

import json
from collections.abc import Callable

import pytest
from click.testing import Result

from epochwatch.report.store import History

Keep = Callable[..., str]
Command = Callable[..., Result]


@pytest.fixture
def two_runs(keep: Keep) -> tuple[str, str]:
    """An older run, and one whose accuracy is 2 points worse and whose loss is better."""
    old = keep("digits", {"validation/accuracy": [0.5, 0.95], "validation/loss": [1.0, 0.3]})
    return old, keep("digits", {"validation/accuracy": [0.5, 0.93], "validation/loss": [1.0, 0.2]})


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("digits~1", "digits"), 1),
        (("digits", "digits~1"), 0),
        (("digits", "digits"), 0),
        (("digits~1", "digits", "--threshold", "3%"), 0),
        (("digits~1", "digits", "--threshold", "0.019"), 1),
        (("digits~1", "digits", "--threshold", "0.021"), 0),
        (("digits~1", "digits", "--metric", "validation/loss"), 0),
        (("digits~1", "digits", "--metric", "validation/loss", "--mode", "max", "--at", "final"), 1),
        (("v9", "digits"), 2),
        (("digits~7", "digits"), 2),
        (("digits~1", "digits", "--metric", "validation/f1"), 2),
        (("digits~1", "digits", "--threshold", "lots"), 2),
        (("digits~1",), 2),
    ],
)
def test_the_exit_code_decides_on_a_release(
    arguments: tuple[str, ...], code: int, two_runs: tuple[str, str], command: Command
) -> None:
    """0 where B is not worse than A, 1 where it is, 2 where nobody can say."""
    result = command("compare", *arguments)
    assert result.exit_code == code, result.output


def test_a_comparison_is_a_table_with_a_verdict(two_runs: tuple[str, str], command: Command) -> None:
    """Every value in common, the one that decides first, and what the verdict goes by."""
    old, new = two_runs
    lines = command("compare", "digits~1", "digits").stdout.splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "BY BEST VALUE A digits B digits B - A B IS",
        "validation/accuracy 95.00% 93.00% -2.00 pp ▼ worse",
        "validation/loss 0.3 0.2 -0.1 (-33.3%) ▲ better",
        "",
        f"digits ({new}) is worse than digits ({old})",
        "by best accuracy, more is better, differences up to 0.5% count as none",
    ]


def test_a_comparison_is_json_for_programs(two_runs: tuple[str, str], command: Command) -> None:
    """The same as data; the exit code stays."""
    old, new = two_runs
    result = command("compare", "digits~1", "digits", "--json", "--at", "final")
    told = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (told["a"]["run_id"], told["b"]["run_id"]) == (old, new)
    assert (told["verdict"], told["not_worse"], told["metric"], told["at"]) == (
        "worse",
        False,
        "validation/accuracy",
        "final",
    )
    assert told["a_value"] == {"value": 0.95, "epoch": 2}
    assert told["gain"] == pytest.approx(-0.02)
    assert [other["metric"] for other in told["others"]] == ["validation/loss"]


def test_a_nan_is_valid_json(keep: Keep, command: Command) -> None:
    """A run that never had a finite value is null, and worse."""
    keep("digits", {"validation/loss": [1.0]}, monitor="validation/loss", mode="min")
    keep("digits", {"validation/loss": [float("nan")]}, monitor="validation/loss", mode="min")
    result = command("compare", "digits~1", "digits", "--json")
    assert (result.exit_code, json.loads(result.stdout)["b_value"]["value"]) == (1, None)
    assert "NaN" not in result.stdout


def test_the_runs_are_listed(two_runs: tuple[str, str], keep: Keep, command: Command) -> None:
    """Newest first, with state, time taken, epochs, best value and the baselines they are."""
    keep("训练-夜间", state="training", planned=30)
    assert command("baseline", "set", "v1.0", "digits~1").exit_code == 0
    lines = command("runs").stdout.splitlines()
    assert lines[0].split() == ["RUN", "ID", "NAME", "STATE", "STARTED", "TOOK", "EPOCHS", "BEST", "BASELINE"]
    assert "训练-夜间  vanished" in lines[1]
    assert "3/30" in lines[1]
    assert lines[3].split()[-1] == "v1.0"
    assert "10 min" in lines[3]
    assert "validation/accuracy 95.00%" in lines[3]
    assert len(command("runs", "digits").stdout.splitlines()) == 3
    assert len(command("runs", "--limit", "1").stdout.splitlines()) == 2
    told = json.loads(command("runs", "--json").stdout)
    assert [run["name"] for run in told] == ["训练-夜间", "digits", "digits"]
    assert told[2]["baselines"] == ["v1.0"]
    assert told[2]["best"] == 0.95


def test_a_name_cannot_act_on_the_terminal(keep: Keep, command: Command) -> None:
    """What a run is called is shown, not obeyed."""
    keep("\x1b[31mred\x07")
    assert "\x1b" not in command("runs").stdout


def test_baselines_are_set_listed_and_removed(two_runs: tuple[str, str], command: Command) -> None:
    """A baseline is compared by its name; removed, it is unknown again."""
    old, _ = two_runs
    assert command("baseline", "set", "v1.0", old[:12]).stdout == f"baseline v1.0 is digits ({old})\n"
    assert command("baseline", "list").stdout.splitlines()[1].split() == ["v1.0", old, "digits"]
    assert command("compare", "v1.0", "digits").exit_code == 1
    assert command("baseline", "remove", "v1.0").exit_code == 0
    gone = command("compare", "v1.0", "digits")
    assert (gone.exit_code, gone.stderr) == (
        2,
        "Error: no run or baseline is called 'v1.0'; known are: digits (all of them: epochwatch runs)\n",
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("baseline", "set", "digits", "digits"),
            "a run is called 'digits' already; give the baseline another name",
        ),
        (
            ("baseline", "set", "", "digits"),
            "a baseline must have a name, and '' is none; is a variable empty?",
        ),
        (("baseline", "set", "  ", "digits"), "a baseline must have a name, and '  ' is none"),
        (
            ("baseline", "set", "v1\n", "digits"),
            r"a baseline cannot be called 'v1\n': give one line of at most",
        ),
        (("baseline", "set", "v1\x1b[m", "digits"), r"a baseline cannot be called 'v1\x1b[m'"),
        (("baseline", "set", " v1", "digits"), "a baseline cannot be called ' v1'"),
        (("baseline", "set", "v" * 201, "digits"), "a baseline cannot be called 'vvv"),
        (
            ("baseline", "set", "digits~1", "digits"),
            "a baseline cannot be called 'digits~1', which means an earlier run",
        ),
        (("compare", "", "digits"), "no run or baseline is called ''; known are: digits"),
        (("compare", "digits", " "), "no run or baseline is called ' '; known are: digits"),
        (("baseline", "set", "v1", "resnet"), "no run or baseline is called 'resnet'; known are: digits"),
        (("baseline", "remove", "v1"), "there is no baseline 'v1'; known baselines: none"),
        (("runs", "resnet"), "no run or baseline is called 'resnet'"),
    ],
)
def test_what_is_wrong_is_told_with_exit_code_2(
    arguments: tuple[str, ...], said: str, two_runs: tuple[str, str], command: Command
) -> None:
    """One line on standard error, nothing on standard output, no traceback."""
    result = command(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"Error: {said}")


def test_a_baseline_does_not_hide_a_run(two_runs: tuple[str, str], command: Command) -> None:
    """The beginning of a run's id goes on meaning that run."""
    old, _ = two_runs
    result = command("baseline", "set", old[:8], "digits")
    assert (result.exit_code, result.stderr) == (
        2,
        f"Error: a run's id begins with '{old[:8]}'; give the baseline another name\n",
    )


def test_a_nameless_baseline_of_an_older_history_is_none(
    two_runs: tuple[str, str], history: History, command: Command
) -> None:
    """A gate whose variable is empty passes nothing, and the baseline can be removed."""
    history.set_baseline("", two_runs[0], 0.0)
    assert command("compare", "", "digits").exit_code == 2
    assert command("report", "digits", "--baseline", "").exit_code == 2
    assert command("baseline", "remove", "").exit_code == 0


def test_without_a_history_the_commands_say_how_to_get_one(history: History, command: Command) -> None:
    """No file is made by looking."""
    result = command("runs")
    assert result.exit_code == 2
    assert "EPOCHWATCH_HISTORY makes one" in result.stderr
    assert not history.directory.exists()
