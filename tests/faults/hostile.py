"""Files made to run code, to fill the memory or to leave their folder: refused in one line; a canary never appears."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import steepest
from steepest.cli import main

CANARY = "canary"
MOST_BYTES = 200 * 2**20  # that a bomb may cost
HTML = "<script>document.title='canary'</script>"
FORMULA = "=cmd|'/C touch canary'!A0"


class Touch:
    """What runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {CANARY}",)


def evil() -> bytes:
    return pickle.dumps(Touch())


def _run(folder: Path) -> Path:
    """Return the folder of a finished run, to be tampered with."""
    table = "x,y,label\n" + "".join(f"{i % 7},{i % 5},{'yes' if i % 7 > 3 else 'no'}\n" for i in range(120))
    (folder / "t.csv").write_text(table)
    run = steepest.fit(steepest.task("t.csv", label="label"), recipe="Recipe(adam(0.01), epochs=1)", progress=False)
    return folder / ".steepest/runs" / str(run.id)


def _altered(run: Path, change: Callable[[str], str]) -> None:
    path = run / "record.jsonl"
    path.write_text(change(path.read_text()))


def _set(run: Path, event: str, **changes: Any) -> None:
    lines = [json.loads(line) for line in (run / "record.jsonl").read_text().splitlines()]
    lines = [line | changes if line["event"] == event else line for line in lines]
    (run / "record.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


CODE = f"__import__('os').system('touch {CANARY}')"


def weights_that_are_a_pickle(folder: Path) -> list[str]:
    run = _run(folder)
    (run / "weights.safetensors").write_bytes(evil())
    return ["evaluate", run.name]


def weights_with_a_huge_header(folder: Path) -> list[str]:
    run = _run(folder)
    (run / "weights.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}")
    return ["evaluate", run.name]


def recipe_that_is_code(folder: Path) -> list[str]:
    run = _run(folder)
    _set(run, "end", recipe=CODE)
    return ["evaluate", run.name, "--folds", "2"]


def network_that_is_code(folder: Path) -> list[str]:
    run = _run(folder)
    start = json.loads((run / "record.jsonl").read_text().splitlines()[0])
    _set(run, "start", model=start["model"] | {"spec": CODE})
    return ["evaluate", run.name]


def objective_that_is_code(folder: Path) -> list[str]:
    run = _run(folder)
    start = json.loads((run / "record.jsonl").read_text().splitlines()[0])
    _set(run, "start", interface=start["interface"] | {"objective": CODE})
    return ["evaluate", run.name]


def run_outside_of_the_home(folder: Path) -> list[str]:
    run = _run(folder)
    shutil.copytree(run, folder / "elsewhere")
    return ["evaluate", "../../elsewhere"]


def run_that_never_was_one(folder: Path) -> list[str]:
    (folder / ".steepest/runs/f1234").mkdir(parents=True)
    (folder / ".steepest/runs/f1234/record.jsonl").write_bytes(evil())
    return ["fit", "--resume", "f1234"]


def recipe_on_the_command_line(folder: Path) -> list[str]:
    return ["fit", "iris", "--recipe", CODE]


def plan_on_the_command_line(folder: Path) -> list[str]:
    return ["fit", "iris", "--plan", CODE]


def network_on_the_command_line(folder: Path) -> list[str]:
    return ["fit", "iris", "--model", CODE]


def npz_of_objects(folder: Path) -> list[str]:
    np.savez(folder / "t.npz", X=np.array([Touch()] * 20, dtype=object), y=np.arange(20) % 2, allow_pickle=True)
    return ["fit", "t.npz"]


def npz_that_is_a_pickle(folder: Path) -> list[str]:
    (folder / "t.npz").write_bytes(evil())
    return ["fit", "t.npz"]


def npz_bomb(folder: Path) -> list[str]:
    with zipfile.ZipFile(folder / "t.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, shape in (("X", (400_000, 32, 32)), ("y", (400_000,))):
            head = io.BytesIO()
            np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": shape})
            with archive.open(f"{name}.npy", "w") as file:
                file.write(head.getvalue())
                for _ in range(int(np.prod(shape)) // 400_000):
                    file.write(bytes(400_000))
    return ["fit", "t.npz"]


def gzip_bomb(folder: Path) -> list[str]:
    with gzip.open(folder / "t.csv.gz", "wb") as file:
        file.write(b"a,b,label\n")
        for _ in range(400):
            file.write(b"1,2,3\n" * 170_000)
    return ["fit", "t.csv.gz"]


def idx_bomb(folder: Path) -> list[str]:
    with gzip.open(folder / "train-images-idx3-ubyte.gz", "wb") as file:
        file.write(struct.pack(">IIII", 0x803, 400_000, 32, 32))
        for _ in range(400):
            file.write(bytes(2**20))
    with gzip.open(folder / "train-labels-idx1-ubyte.gz", "wb") as file:
        file.write(struct.pack(">II", 0x801, 400_000) + bytes(400_000))
    return ["fit", str(folder)]


def idx_that_promises(folder: Path) -> list[str]:
    (folder / "train-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 0x803, 2**31, 2**31, 2**31) + bytes(100))
    (folder / "train-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, 2**31) + bytes(100))
    return ["fit", str(folder)]


def png_bomb(folder: Path) -> list[str]:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    for name in ("cat", "dog"):
        (folder / "images" / name).mkdir(parents=True)
        head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
        content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(10**7)))
        (folder / "images" / name / "a.png").write_bytes(content + chunk(b"IEND", b""))
    return ["fit", "images"]


REFUSED = (
    weights_that_are_a_pickle, weights_with_a_huge_header, recipe_that_is_code, network_that_is_code, objective_that_is_code,
    run_outside_of_the_home, run_that_never_was_one, recipe_on_the_command_line, plan_on_the_command_line,
    network_on_the_command_line, npz_of_objects, npz_that_is_a_pickle, idx_that_promises, png_bomb,
)  # fmt: skip
BOMBS = (npz_bomb, gzip_bomb, idx_bomb)


@contextlib.contextmanager
def _in(folder: Path) -> Any:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def refused(attack: Callable[[Path], list[str]], folder: Path) -> str:
    """Carry an attack out; return what is wrong with the answer, or nothing."""
    folder.mkdir()
    said, told = io.StringIO(), io.StringIO()
    with _in(folder):
        command = attack(folder)
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(told):
            code = main([*command, "--quiet"])
    lines = [line for line in said.getvalue().strip().splitlines() if line]
    if (folder / CANARY).exists():
        return "the canary is there"
    if code != 2 or len(lines) != 1 or not lines[0].startswith("steepest: "):
        return f"code {code}, {len(lines)} lines: {lines[:3]}"
    return ""


CHILD = """
import resource, sys
import steepest, steepest.training.fitting, steepest.cli.learning, torch, polars
from steepest.cli import main
steepest.fit("iris", recipe="Recipe(adam(0.1), epochs=1)", record=False)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
code = main(sys.argv[1:])
print(code, 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""


def bomb(attack: Callable[[Path], list[str]], folder: Path) -> tuple[str, int]:
    """Carry a bomb out in a process of its own; return what is wrong with the answer, and the memory that it cost."""
    folder.mkdir()
    with _in(folder):
        command = attack(folder)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *command, "--quiet"], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        return f"the process ended with {done.returncode}: {done.stderr[-200:]}", 0
    code, cost = map(int, done.stdout.split()[-2:])
    lines = done.stderr.strip().splitlines()
    wrong = "" if code == 2 and len(lines) == 1 and cost < MOST_BYTES else f"code {code}, {cost:,} bytes, {lines[:3]}"
    return wrong, cost


def text_in_pages(folder: Path) -> str:
    """Train on a table full of HTML and formulas, and write its report; return what is wrong with the page."""
    folder.mkdir()
    rows = [f'"{HTML}{i % 3}",{i},"{FORMULA}"' if i % 2 else f'"{HTML}{i % 4}",{i},"{HTML}"' for i in range(120)]
    (folder / "t.csv").write_text(f'"{HTML}","n<b>","{FORMULA}"\n' + "\n".join(rows) + "\n")
    with _in(folder), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        code = main(["fit", "t.csv", "--label", "-1", "--recipe", "Recipe(adam(0.01), epochs=1)", "--quiet"])
        code = code or main(["report", "last", "--out", "page.html"])
    if code:
        return f"code {code}"
    page = (folder / "page.html").read_text()
    if HTML in page or (folder / CANARY).exists():
        return "the page holds what the table said"
    return ""
