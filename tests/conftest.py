"""What all tests share: records go to a temporary folder, real data come from STEEPEST_DATA."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test works in a folder of its own, so that records never meet."""
    monkeypatch.delenv("STEEPEST_HOME", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Compiled code of the tests stays among them."""
    os.environ.setdefault("STEEPEST_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def force() -> Iterator[Callable[[str], None]]:
    """A function that leaves optimizers one execution beside the eager one, see `executions.leave`."""
    from tests.executions import leave

    patch = pytest.MonkeyPatch()

    def only(execution: str) -> None:
        patch.undo()
        leave(execution, patch)

    yield only
    patch.undo()


@pytest.fixture
def real_data() -> Path:
    """The folder of real data sets, or a skip that says what is missing."""
    folder = os.environ.get("STEEPEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("STEEPEST_DATA does not name the folder of real data sets")
    return Path(folder)


@pytest.fixture
def churn(tmp_path: Path) -> Path:
    """A small table of the kind people bring: numbers, categories, missing cells, a yes/no label."""
    import numpy as np

    rng = np.random.default_rng(0)
    rows = ["age,plan,minutes,city,churned"]
    for _ in range(400):
        age, minutes = int(rng.integers(18, 80)), float(rng.normal(200, 60))
        plan, city = str(rng.choice(["basic", "plus", "pro"])), str(rng.choice(["Bern", "Genf", "Zug"]))
        score = 0.05 * (age - 45) - 0.02 * (minutes - 200) + (plan == "basic") * 1.5 + rng.normal(0, 0.7)
        shown = "?" if rng.random() < 0.05 else f"{minutes:.1f}"
        rows.append(f"{age},{plan},{shown},{city},{'yes' if score > 0.5 else 'no'}")
    path = tmp_path / "churn.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C as usual, also where the tests run in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
