"""Bad input: one clear line - what was expected, what came, what to do - on the command line with exit code 2, and nothing
half-written. The Python calls raise the same line.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import steepest
import steepest.recipes
from steepest.cli import main

ROWS = [f"{i},{i % 7},{'yes' if i % 2 else 'no'}" for i in range(60)]


def table(folder: Path, rows: list[str], head: str = "a,b,label") -> str:
    (folder / "t.csv").write_text("\n".join([head, *rows]) + "\n")
    return "t.csv"


def with_row(at: int, row: str) -> Callable[[Path], str]:
    return lambda folder: table(folder, [*ROWS[:at], row, *ROWS[at + 1 :]])


def write(name: str, content: bytes) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        (folder / name).write_bytes(content)
        return name

    return make


def parquet(columns: dict[str, list[object]]) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        pl.DataFrame(columns).write_parquet(folder / "t.parquet")
        return "t.parquet"

    return make


def npz(**arrays: object) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        np.savez(folder / "t.npz", **arrays)  # type: ignore[arg-type]
        return "t.npz"

    return make


def labelled(labels: str, at: int = -1, line: str = "") -> Callable[[Path], str]:
    lines = [f"{labels[i % len(labels)]} film number {i}" if i != at else line for i in range(60)]
    return write("t.txt", "\n".join(lines).encode())


def idx(shape: tuple[int, ...]) -> bytes:
    return bytes([0, 0, 8, len(shape)]) + np.array(shape, dtype=">u4").tobytes() + bytes(int(np.prod(shape)))


def pair(images: tuple[int, ...], labels: tuple[int, ...]) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        (folder / "a-images-idx3-ubyte").write_bytes(idx(images))
        (folder / "a-labels-idx1-ubyte").write_bytes(idx(labels))
        return "a-images-idx3-ubyte"

    return make


GZIP = gzip.compress(b"a,b,label\n" + b"1,2,yes\n" * 50)
LABEL = ["--label", "label"]
LONG = "x" * 1_000_000
WITH_MSE = steepest.Recipe(steepest.sgd(), objective=steepest.mse())
WITH_CROSS_ENTROPY = steepest.Recipe(steepest.sgd(), objective=steepest.cross_entropy())

# what is wrong -> how to make it, further arguments, what the line must say
CASES: dict[str, tuple[Callable[[Path], str], list[str], list[str]]] = {
    "no such file": (write("churn.csv", b"x"), [], ["no such file: chrun.csv", "did you mean churn.csv?"]),
    "no such task": (lambda _: "diggits", [], ["unknown task 'diggits'", "did you mean 'digits'?"]),
    "empty file": (write("t.csv", b""), LABEL, ["t.csv is empty (0 bytes)"]),
    "blank file": (write("t.csv", b"\n\n\n"), LABEL, ["is empty (only blank lines)"]),
    "header only": (write("t.csv", b"a,b,label\n"), LABEL, ["has column names but no rows"]),
    "no label named": (lambda f: table(f, ROWS), [], ["which column is to be predicted? add --label"]),
    "absent label": (lambda f: table(f, ROWS), ["--label", "lable"], ["unknown label column 'lable'", "did you mean 'label'?"]),
    "label out of range": (lambda f: table(f, ROWS), ["--label", "7"], ["label position 7 is outside the 3 columns"]),
    "constant label": (
        lambda f: table(f, [f"{i},{i % 7},yes" for i in range(60)]),
        LABEL,
        ["is constant ('yes' in all 60 rows)"],
    ),
    "label all missing": (lambda f: table(f, [f"{i},2,?" for i in range(60)]), LABEL, ["is missing in all 60 rows"]),
    "single row of a class": (with_row(30, "1,2,maybe"), LABEL, ["class 'maybe'", "has a single row"]),
    "ragged row": (with_row(4, "1,2"), LABEL, ["t.csv, line 6: expected 3 fields, got 2", "--on-bad-row skip"]),
    "long row": (with_row(4, "1,2,yes,4"), LABEL, ["line 6: expected 3 fields, got 4"]),
    "text among numbers": (
        with_row(9, "1,two,yes"),
        LABEL,
        ["line 11, column 'b': expected a number", "got 'two'", "--missing b=two"],
    ),
    "infinite value": (with_row(9, "1,inf,yes"), LABEL, ["line 11, column 'b': expected a finite number, got inf"]),
    "open quote": (with_row(9, '1,"2,yes'), LABEL, ["not readable as csv", "check the quotes"]),
    "two columns of one name": (lambda f: table(f, ROWS, "a,a,label"), LABEL, ["line 1: two columns are called 'a'"]),
    "no header": (
        lambda f: table(f, ["1,2,3"] * 9, "4,5,6"),
        ["--label", "-1"],
        ["expected column names, got numbers", "--no-header"],
    ),
    "binary file": (write("t.csv", b"\x89PNG\x00\x00"), LABEL, ["is not text (it holds zero bytes)"]),
    "damaged gzip": (write("t.csv.gz", GZIP[:40]), LABEL, ["t.csv.gz is a damaged gzip file"]),
    "not gzip at all": (write("t.csv.gz", b"a,b\n1,2\n"), LABEL, ["ends in .gz but is not a gzip file"]),
    "damaged parquet": (write("t.parquet", b"PAR1 nonsense"), LABEL, ["is not a readable parquet file"]),
    "damaged npz": (write("t.npz", b"PK nonsense"), [], ["is not a readable npz archive"]),
    "damaged idx header": (
        write("a-images-idx3-ubyte", b"\x00\x01\x08\x03abcd"),
        [],
        ["is not an idx file", "got 00 01 08 03"],
    ),
    "idx cut off": (
        write("a-images-idx3-ubyte", b"\x00\x00\x08\x01\x00\x00\x00\x09abc"),
        [],
        ["promises 9 values", "it holds 11"],
    ),
    "idx without labels": (
        write("a-images-idx3-ubyte", b"\x00\x00\x08\x03" + np.array([2, 1, 1], dtype=">u4").tobytes() + b"ab"),
        [],
        ["the 'a' set has no labels file"],
    ),
    "folder": (lambda f: (f / "empty").mkdir() or "empty", LABEL, ["is a folder without idx image files"]),  # type: ignore[func-returns-value]
    "too few rows": (lambda f: table(f, ROWS[:4]), LABEL, ["4 rows are too few to split"]),
    "only the label": (lambda f: table(f, ["yes", "no"] * 9, "label"), LABEL, ["no column is left to learn from"]),
    "unknown metric": (lambda _: "iris", ["--reach", "acuracy>=0.9"], ["unknown metric 'acuracy'", "did you mean 'accuracy'?"]),
    "unreachable target": (lambda _: "iris", ["--reach", "accuracy>=1.2"], ["accuracy can never be >= 1.2", "between 0 and 1"]),
    "percent meant": (lambda _: "iris", ["--reach", "accuracy>=97"], ["did you mean 0.97?"]),
    "wrong direction": (
        lambda _: "iris",
        ["--reach", "accuracy<=0.9"],
        ["write accuracy >= 0.9"],
    ),
    "metric of another kind": (lambda _: "iris", ["--reach", "rmse<=1"], ["metric 'rmse' is not for classification"]),
    "no target at all": (lambda _: "iris", ["--reach", "good"], ["expected a target such as 'accuracy >= 0.97' (got 'good')"]),
    "negative batch": (lambda _: "iris", ["--batch", "-4"], ["--batch must be >= 1 (got -4)"]),
    "zero batch": (lambda _: "iris", ["--batch", "0"], ["--batch must be >= 1 (got 0)"]),
    "zero epochs": (lambda _: "iris", ["--epochs", "0"], ["--epochs must be > 0 (got 0)"]),
    "infinite epochs": (lambda _: "iris", ["--epochs", "inf"], ["--epochs must be > 0 (got inf)"]),
    "negative seed": (lambda _: "iris", ["--seed", "-1"], ["--seed must be >= 0 (got -1)"]),
    "unknown option": (lambda _: "iris", ["--epoch", "3"], ["no such option --epoch", "did you mean --epochs?"]),
    "not a number": (lambda _: "iris", ["--epochs", "many"], ["'--epochs'", "valid number"]),
    "not a model": (lambda _: "iris", ["--model", "adam(0.1)"], ["unknown network 'adam'"]),
    "wrong model": (lambda _: "iris", ["--model", "mlp((0,))"], ["hidden must be whole numbers above zero"]),
    "image network on a table": (lambda _: "iris", ["--model", "residual_cnn()"], ["residual_cnn reads images"]),
    "unknown kind": (lambda f: table(f, ROWS), [*LABEL, "--kind", "clasification"], ["did you mean 'classification'?"]),
    "text as quantity": (lambda f: table(f, ROWS), [*LABEL, "--kind", "regression"], ["regression needs numbers"]),
    "transcripts of a table": (
        lambda f: table(f, ROWS),
        [*LABEL, "--kind", "transcription"],
        ["t.csv: kind='transcription' is for recordings: a folder with transcripts.csv, or an npz"],
    ),
    "unknown column": (lambda f: table(f, ROWS), [*LABEL, "--drop", "aa"], ["unknown column 'aa'", "did you mean 'a'?"]),
    "table options for a built-in": (lambda _: "iris", ["--drop", "a"], ["--drop: only for tables in files"]),
    "huge value": (with_row(9, "1,1e200,yes"), LABEL, ["expected a finite number, got 1e+200 (beyond 1e+100)"]),
    "dropped label": (lambda f: table(f, ROWS), [*LABEL, "--drop", "label"], ["the label 'label' cannot be dropped"]),
    "huge labels": (
        lambda f: table(f, [f"{i},{i % 7},{i}e25" for i in range(1, 60)]),
        [*LABEL, "--kind", "classification"],
        ["has a single row"],
    ),
    "nested column": (parquet({"a": [[1], [2]] * 30, "b": list(range(60)), "label": [0, 1] * 30}), LABEL, ["'a' holds List"]),
    "idx header cut off": (
        write("a-images-idx3-ubyte", b"\x00\x00\x08\x03\x00\x00"),
        [],
        ["its header ends early, after 6 bytes"],
    ),
    "idx of many dimensions": (
        write("a-images-idx3-ubyte", b"\x00\x00\x08\xc8" + b"\x00\x00\x00\x01" * 200),
        [],
        ["expected an idx file of 1 to 4 dimensions"],
    ),
    "idx that promises the moon": (
        write("a-images-idx3-ubyte", b"\x00\x00\x08\x04" + b"\xff" * 16),
        [],
        ["promises 4294967295 x 4294967295", "(340,282"],
    ),
    "labels of images with two dimensions": (
        pair((60, 4, 4), (60, 8)),
        [],
        ["expected one label an image (got 60 x 8 values)"],
    ),
    "npz of single values": (npz(X=np.float64(1), y=np.float64(2)), [], ["y is constant (2 in all 1 rows)"]),
    "npz of objects": (npz(X=np.array([{}] * 60), y=np.arange(60)), [], ["is not a readable npz archive"]),
    "table options for images": (
        npz(X=np.zeros((60, 4, 4)), y=np.arange(60) % 2),
        ["--no-header"],
        ["--header: only for tables, series (those with --horizon), not for images such as t.npz"],
    ),
    "a label for images": (npz(X=np.zeros((60, 4, 4)), y=np.arange(60) % 2), LABEL, ["holds images with labels of their own"]),
    "a name too long": (lambda _: "x" * 5000, [], ["expected the name of a task or file"]),
    "shares that are no numbers": (lambda _: "iris", ["--parts", "nan,0,0,0"], ["sum to 1, train above 0 (got (nan, 0.0"]),
    "a name that is not UTF-8": (write("n\udcff.csv", b"a,label\n" + b"1,x\n2,y\n" * 40), LABEL, ["is not UTF-8", "rename it"]),
    "a label of a million characters": (with_row(9, f"1,2,{LONG}"), LABEL, ["line 11, column 'label'", "…' of 1,000,000"]),
    "a cell of a million characters": (with_row(9, f"1,{LONG},yes"), LABEL, ["line 11, column 'b': expected a number", "x…'"]),
    "a date of a million characters": (
        lambda f: table(
            f, [*(f"2024-01-{i % 28 + 1:02},{row}" for i, row in enumerate(ROWS)), f"{LONG},1,2,no"], "d,a,b,label"
        ),
        LABEL,
        ["line 62, column 'd': expected a date such as", "x…'"],
    ),
    "a column name of a million characters": (
        lambda f: table(f, ROWS, f"a,{LONG},label"),
        LABEL,
        ["line 1: expected column names", "…' of 1,000,000 characters"],
    ),
    "a test file with a label of a million characters": (
        lambda f: (f / "u.csv").write_text(f"a,b,label\n1,2,{LONG}\n") and table(f, ROWS),
        [*LABEL, "--test", "u.csv"],
        ["u.csv, line 2, column 'label'", "…' of 1,000,000 characters"],
    ),
    "a line without its text": (
        labelled("pn", 7, "p"),
        [],
        ["t.txt: line 8: expected a label and a text, as on 59 of 60", "'p'"],
    ),
    "a first line without its text": (labelled("pn", 0, "title"), [], ["line 1: expected a label and a text", "--context 256"]),
    "lines of one label": (labelled("p"), [], ["t.txt: one class only: every line begins with 'p'", "--tokens words"]),
    "lines of many labels": (
        labelled("pnqrs"),
        [],
        ["5 different labels (p, n, q and 2 more) on 60 lines are many for classes"],
    ),
    "lines of a label once": (labelled("pn", 7, "pp a film"), [], ["class 'pp' of label has a single row"]),
    "lines of one label, said to be labels": (labelled("p"), ["--tokens", "words"], ["label is constant ('p' in all 60 rows)"]),
    "a line without its text, said to be labels": (labelled("pn", 7, "p"), ["--tokens", "words"], ["t.txt: line 8: expected"]),
    "a size for a table": (
        lambda f: table(f, ROWS),
        [*LABEL, "--size", "8"],
        ["--size: only for images, not for tables such as t.csv"],
    ),
    "a context for a table": (
        lambda f: table(f, ROWS),
        [*LABEL, "--context", "9"],
        ["--context: only for plain texts, not for tables"],
    ),
    "a window for a table": (
        lambda f: table(f, ROWS),
        [*LABEL, "--window", "9"],
        ["--window: only for series (those with --hor"],
    ),
    "pieces of a table": (lambda f: table(f, ROWS), [*LABEL, "--tokens", "bpe"], ["--tokens bpe: only for texts"]),
    "pieces of images": (
        npz(X=np.zeros((60, 4, 4)), y=np.arange(60) % 2),
        ["--tokens", "bpe"],
        ["--tokens: only for tables, labelled texts, not for images such as t.npz"],
    ),
    "a test file beside images": (
        npz(X=np.zeros((60, 4, 4)), y=np.arange(60) % 2),
        ["--test", "t.npz"],
        ["not for images such as t.npz; of a folder, the folders train and test in it are those parts"],
    ),
    "a label for a built-in set": (lambda _: "iris", ["--label", "x"], ["label 'x' is for tables; iris knows its own"]),
    "a model beside a complete task": (
        write("t.py", b"import steepest\ndef make(): return steepest.task('iris')"),
        ["--model", "mlp()"],
        ["t.py:make is a complete task; model belongs into it, not beside it"],
    ),
    "an unknown feature": (
        lambda f: table(f, ROWS),
        ["--label", "a", "--horizon", "2", "--feature", "bb"],
        ["unknown column 'bb'; did you mean 'b'?"],
    ),
    "filters of no length": (
        lambda _: "iris",
        ["--model", "text_cnn(lengths=())"],
        ["number of lengths must be a whole number >= 1"],
    ),
    "seed too large": (lambda _: "iris", ["--seed", str(2**40)], ["seed must be a whole number from 0 to 4294967295"]),
    "weights of nothing": (
        lambda _: "iris",
        ["--model", "residual_cnn(stages=50)"],
        ["stages must be a whole number from 1 to 8 (got 50)"],
    ),
    "a network of no machine": (
        npz(X=np.random.default_rng(0).random((60, 4)), y=np.arange(60) % 2),
        ["--model", "mlp((10000000, 10000000))", "--reach", "accuracy>=0.9"],
        ["failed: RuntimeError"],
    ),
    "no such test file": (lambda f: table(f, ROWS), [*LABEL, "--test", "u.csv"], ["no such file: u.csv"]),
    "no such function": (write("t.py", b"def make(): pass"), [], ["unknown function in t.py 'mke'", "did you mean 'make'?"]),
}


@pytest.mark.parametrize("verb", ["fit", "race"])
@pytest.mark.parametrize("name", CASES)
def test_the_command_line_says_one_line_and_exits_with_2(
    name: str, verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, arguments, expected = CASES[name]
    source = make(tmp_path)
    source = {"no such file": "chrun.csv", "no such function": "t.py:mke", "a model beside a complete task": "t.py:make"}.get(
        name, source
    )
    before = sorted(path.name for path in tmp_path.iterdir())
    code = main([verb, source, *arguments])
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert err.startswith("steepest: ")
    assert err.count("\n") == 1
    assert len(err) < 1_000
    for piece in expected:
        assert piece in err
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["race", "iris", "--recipes", "adamm"], "unknown recipe 'adamm'; did you mean 'adam'?"),
        (["race", "iris", "--recipes", "adam(lr=-1)"], "lr must be > 0 (got -1)"),
        (["race", "iris", "--recipes", "adam(rate=1)"], "unknown argument of adam 'rate' (known: lr,"),
        (["race", "iris", "--recipes", "__import__('os')"], "unknown function '__import__'"),
        (["race", "iris", "--recipes", "adam(lr=1 if 1 else 2)"], "expected calls such as adamw(0.003)"),
        (["race", "iris", "--recipes", ","], "a race needs at least one recipe"),
        (["race", "iris", "--baseline", "sdg"], "unknown baseline 'sdg'; did you mean 'sgd'?"),
        (["race", "iris", "--seeds", "0"], "--seeds must be >= 1 (got 0)"),
        (["race", "iris", "--budget", "soon"], "budget must be a time such as 90s, 5m or 2h (got 'soon')"),
        (["race", "iris", "--processes", "0"], "--processes must be >= 1 (got 0)"),
        (["race", "iris", "--evaluate-every", "0"], "--evaluate-every must be >= 1 (got 0)"),
        (["race", "iris", "--resume", "r0000"], "no race 'r0000'"),
        (["fit", "iris", "--recipe", "nothing"], "unknown recipe 'nothing'"),
        (["fit", "iris", "--objective", "hubr"], "unknown objective 'hubr'; did you mean 'huber'?"),
        (["fit", "iris", "--objective", "adamw(0.1)"], "unknown objective 'adamw'"),
        (["fit", "iris", "--objective", "__import__('os')"], "unknown objective '__import__'"),
        (["fit", "iris", "--metrics", "accuracy,f2"], "unknown metric 'f2'"),
        (["race", "iris", "--metrics", ","], "--metrics takes names such as accuracy,f1"),
        (["fit", "iris", "--metrics", "rmse"], "metric 'rmse' is not for classification"),
        (["fit", "iris", "--patience", "0"], "--patience must be >= 1 (got 0)"),
        (["evaluate", "f0000"], "no run 'f0000'"),
        (["evaluate", "f0000", "--part", "tset"], "no run 'f0000'"),
        (["report", "nope"], "no run or race 'nope'"),
        (["fly"], "No such command 'fly'"),
        (["fit"], "Missing argument 'TASK'"),
    ],
)
def test_wrong_arguments(arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert expected in err
    assert err.count("\n") == 1


def test_an_unreadable_file_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret.csv"
    path.write_text("a,b\n1,2\n")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert main(["fit", "secret.csv", "--label", "b"]) == 2
    assert "secret.csv cannot be read: Permission denied" in capsys.readouterr().err


def test_control_characters_in_names_stay_on_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table(tmp_path, ROWS, '"a\nb",c,label')
    assert main(["fit", "t.csv", "--label", "x"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: steepest.arrays([[1.0], [2.0]], [0]), "X and y must have equally many rows (got 2 and 1)"),
        (lambda: steepest.arrays([], []), "X is empty (0 rows)"),
        (lambda: steepest.arrays([[1], [1, 2]], [0, 1]), "rows differ in length"),
        (lambda: steepest.arrays([["a"], ["b"]], [0, 1]), "X: expected numbers, got text"),
        (
            lambda: steepest.arrays(np.array([[np.inf], [1.0]]), [0, 1]),
            "X holds an infinite value, or one too large for float32, at [0, 0]",
        ),
        (lambda: steepest.arrays(np.zeros((9, 2)), np.zeros(9)), "y is constant"),
        (
            lambda: steepest.arrays(np.random.rand(60, 3), np.full(60, np.nan), kind="regression"),
            "not finite, or beyond 1e+100",
        ),
        (lambda: steepest.arrays(np.zeros((60, 3)), np.arange(60) % 2).preprocessing, "every column is constant"),
        (lambda: steepest.arrays(np.random.rand(60, 3), np.arange(60) % 2, scaling="z"), "scaling must be one of"),
        (lambda: steepest.arrays(np.random.rand(60, 3), np.arange(60) % 2, parts=(1, 1, 0, 0)), "four shares"),
        (lambda: steepest.arrays(np.array([[1j]] * 60), np.arange(60) % 2), "complex numbers are not supported"),
        (lambda: steepest.arrays(np.random.rand(60, 3), np.arange(60) % 2, parts=(float("nan"), 0, 0, 0)), "four shares"),
        (lambda: steepest.arrays(np.random.rand(60, 3), np.arange(60) % 2, parts=(float("nan"),) * 4), "four shares"),
        (lambda: steepest.task({"a": [1, 2], "y": [1]}, label="y"), "equally many rows (got 2 in a, 1 in y)"),
        (lambda: steepest.task({"a": "xy", "y": [1, 2]}, label="y"), "the column 'a' must be a list or an array"),
        (lambda: steepest.task({"a": 3, "y": [1, 2]}, label="y"), "the column 'a' must be a list or an array"),
        (lambda: steepest.Task("iris", metrics=("rmse",)), "is not for classification"),
        (lambda: steepest.Task("iris", objective=3), "objective must be one such as"),
        (lambda: steepest.Task("iris", objective="mes"), "unknown objective 'mes'; did you mean 'mse'? (known: mse, huber"),
        (lambda: steepest.Task("iris", objective="3"), "expected an objective such as mse() (got '3')"),
        (lambda: steepest.Task("iris", model="mpl"), "unknown network 'mpl'; did you mean 'mlp'?"),
        (lambda: steepest.Task("iris", model="mlp(hiden=(3,))"), "unknown argument of mlp 'hiden'; did you mean 'hidden'?"),
        (lambda: steepest.Task("iris", model="open('x', 'w')"), "unknown network 'open'"),
        (
            lambda: steepest.fit("iris", recipe=steepest.Recipe(steepest.sgd(), objective=steepest.mse()), record=False),
            "mse() is for numbers",
        ),
        (
            lambda: steepest.fit("diabetes", recipe=steepest.Recipe(steepest.sgd(), objective=steepest.cross_entropy())),
            "is for classes",
        ),
        (lambda: steepest.fit("iris", max_steps=0), "max_steps must be a whole number >= 1 (got 0)"),
        (lambda: steepest.fit("iris", evaluate_every=0), "evaluate_every must be a whole number >= 1 (got 0)"),
        (lambda: steepest.Recipe(steepest.sgd(), batch=0), "batch must be a whole number >= 1, or 'full' (got 0)"),
        (lambda: steepest.sgd(10**400), "lr must be > 0 (got 1000"),
        (lambda: steepest.Recipe(5), "a recipe needs a rule"),
        (lambda: steepest.Recipe("sgdd"), "did you mean 'sgd'?"),
        (lambda: steepest.Recipe("Recipe(sgd(), batch=3)"), "is a whole recipe: parse_recipe(text)"),
        (lambda: steepest.cross_entropy(label_smoothing=1.0), "label_smoothing must be in [0, 1)"),
        (lambda: steepest.cross_entropy(class_weights="balance"), "class_weights must be 'balanced'"),
        (lambda: steepest.plateau(factor=1.5), "plateau factor must be in [0, 1)"),
        (lambda: steepest.race("iris", ["sgd"], seeds=0), "seeds must be a whole number from 1 to 400 (got 0)"),
        (lambda: steepest.race(steepest.arrays(np.random.rand(60, 2), np.arange(60) % 2)), "a race needs a target"),
        (lambda: steepest.cross_validate("iris", folds=1), "folds must be a whole number >= 2"),
        (lambda: steepest.find_lr("iris", low=1.0, high=0.1), "find_lr needs high > low"),
        (lambda: steepest.load_run("f0000"), "no run 'f0000'"),
    ],
)
def test_python_calls_raise_one_line(make: Callable[[], object], message: str) -> None:
    with pytest.raises(steepest.InputError) as caught:
        make()
    assert message in str(caught.value)
    assert not list(Path(".steepest/runs").glob("*"))


class NoBackend:
    """Stands for any argument of a wrong type."""


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: steepest.fit("iris", steepest.sgd(0.1), seed=-1), "seed must be a whole number from 0"),
        (lambda: steepest.fit("iris", seed=1.5), "seed must be a whole number from 0"),
        (lambda: steepest.fit("iris", recipe=5), "a recipe is a Recipe, a rule or a text"),
        (lambda: steepest.fit("iris", torch.optim.AdamW), "by its rule, which makes it: steepest.adamw(0.001)"),
        (
            lambda: steepest.fit("iris", recipe=torch.optim.LBFGS([torch.zeros(1)])),
            "(got torch's LBFGS); an optimizer is given by its rule, which makes it: steepest.adam(0.001)",
        ),
        (lambda: steepest.fit("iris", epochs=0), "epochs must be > 0 (got 0)"),
        (lambda: steepest.fit("iris", batch="all"), "batch must be a whole number >= 1, or 'full' (got 'all')"),
        (lambda: steepest.fit(np.eye(20), np.arange(20) % 2), "without a network: fit(steepest.arrays(X, y))"),
        (lambda: steepest.task(np.eye(20), np.arange(20) % 2), "are one source: steepest.task(steepest.arrays(X, y))"),
        (lambda: steepest.fit("iris", device="gpu"), "device 'gpu' failed"),
        (lambda: steepest.fit("iris", device="meta"), "a meta device holds no numbers"),
        (lambda: steepest.fit("iris", evaluate_every="x"), "evaluate_every must be a whole number >= 1 (got 'x')"),
        (lambda: steepest.race("iris", batch=0), "batch must be a whole number >= 1, or 'full' (got 0)"),
        (lambda: steepest.race("iris", seeds=True), "seeds must be a whole number"),
        (lambda: steepest.race("iris", budget=True), "budget must be > 0"),
        (lambda: steepest.race("iris", processes=1.5), "processes must be a whole number >= 1 (got 1.5)"),
        (lambda: steepest.cross_validate("iris", seed=-1), "seed must be a whole number"),
        (lambda: steepest.arrays(np.zeros((9, 2)), np.arange(9) % 2, parts="abcd"), "parts must be four shares"),
        (lambda: steepest.arrays(np.zeros((9, 2)), np.arange(9) % 2, seed="x"), "seed must be a whole number"),
        (lambda: steepest.arrays(np.full((60, 2), 1e39), np.arange(60) % 2), "too large for float32"),
        (lambda: steepest.arrays(np.zeros((60, 2)), np.arange(60) * 1j), "y must be one label a row"),
        (lambda: steepest.arrays(np.zeros((60, 2)), [None, "a"] * 30), "y is missing (None) in some rows"),
        (lambda: steepest.arrays(np.zeros((6, 2)), np.zeros((6, 2, 2))), "y must be one label a row"),
        (lambda: steepest.find_lr("iris", high="x"), "high must be > 0"),
        (lambda: steepest.find_lr("iris", num_steps=50.5), "num_steps must be a whole number >= 10"),
        (lambda: steepest.report(5), "a report is about a Race, a Run or the id of one (got 5)"),
        (lambda: steepest.split({1: steepest.adam()}), "split's keys are name patterns"),
        (lambda: steepest.split("a", rest=steepest.adam()), "split takes name patterns as a dict"),
        (lambda: steepest.split(rest=1), "split takes rules"),
        (steepest.split, "split needs at least one branch"),
        (lambda: steepest.rmsprop(0.1, centered="x"), "centered must be True or False"),
        (lambda: steepest.cross_entropy(class_weights=5), "class_weights must be 'balanced' or a weight per class"),
        (lambda: steepest.cross_entropy(class_weights=[0, 0]), "class_weights are all 0"),
        (
            lambda: steepest.fit("digits", steepest.Recipe(steepest.sgd(), augment=(steepest.cutout(10**20),))),
            "larger than the images of 8 x 8; give a smaller square",
        ),
        (lambda: steepest.mlp(5), "hidden must be a tuple such as (64, 64)"),
        (
            lambda: steepest.cosine(steps=100, warmup=0.05),
            "warmup is in steps when steps= is given (got 0.05); did you mean 5?",
        ),
        (lambda: steepest.exponential(2.0, steps=5), "gamma must be in [0, 1]"),
        (lambda: steepest.parse_recipe("adam(lr=0.1, lr=0.2)"), "adam(lr=0.1, lr=0.2)"),
        (lambda: steepest.Recipe(steepest.adam(), plateau=1), "plateau must be one such as"),
        (lambda: steepest.Recipe(steepest.adam(), patience=1.5), "patience must be a whole number"),
        (
            lambda: steepest.fit("iris", steepest.Recipe(steepest.sgd(0.1), plateau=steepest.plateau("rmse"))),
            "metric 'rmse' is not for classification",
        ),
        (lambda: steepest.Optimizer([NoBackend()], steepest.sgd()), "parameters must be tensors (got NoBackend)"),
        (
            lambda: steepest.task("iris", model=lambda: 1 / 0) and steepest.fit(steepest.task("iris", model=lambda: 1 / 0)),
            "failed",
        ),
    ],
)
def test_wrong_values_in_python_are_one_line_and_leave_nothing(
    call: Callable[[], object], message: str, tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(steepest.InputError) as caught:
        call()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: steepest.adamw(np.float64(0.1), weight_decay=np.float32(0.5)), "adamw(0.1, weight_decay=0.5)"),
        (lambda: steepest.lookahead(np.int64(3)), "lookahead(every=3)"),
        (lambda: steepest.sgd(schedule=steepest.cosine(np.int64(9))), "sgd(schedule=cosine(steps=9))"),
        (lambda: steepest.clamp_weights(-float("inf"), 1.0), "clamp_weights(-inf, 1.0)"),
    ],
)
def test_numbers_of_other_libraries_print_as_they_are_read(make: Callable[[], object], text: str) -> None:
    assert repr(make()) == text == repr(steepest.recipes.read(text))
