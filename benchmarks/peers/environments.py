"""An environment for every rival, made once outside the repository and used again.

steepest itself is read from this checkout (PYTHONPATH); its environment holds what `pyproject.toml` says it needs.
"""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TORCH = "torch==2.13.0"  # first, and the same for everybody
DEFAULT = Path("~/.cache/steepest/peers")


@dataclass(frozen=True)
class Environment:
    """Where some rivals run: its name, and what is installed there, torch first."""

    name: str
    requirements: tuple[str, ...]

    def python(self, folder: Path) -> Path:
        return folder / self.name / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def own_requirements() -> tuple[str, ...]:
    """Return what steepest needs, torch apart."""
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    return tuple(one for one in needed if not one.startswith("torch"))


# The releases 2.6.2 and 2.6.3 of lightning and pytorch-lightning were malicious; lightning installs both names.
ENVIRONMENTS = {
    made.name: made
    for made in (
        Environment("steepest", (TORCH, *own_requirements())),
        Environment("torch", (TORCH, "numpy>=2")),
        Environment("keras-jax", ("keras>=3.12,<4", "jax[cpu]>=0.8")),
        Environment("keras-torch", (TORCH, "keras>=3.12,<4")),
        Environment("lightning", (TORCH, "lightning>=2.6.6,<3", "pytorch-lightning>=2.6.6,<3")),
        Environment("skorch", (TORCH, "skorch>=1.3,<2")),
        Environment("accelerate", (TORCH, "accelerate>=1.12,<2")),
    )
}


def install(environment: Environment, folder: Path) -> str:
    """Make an environment where it is missing or was made of other requirements; return what went wrong, in one line."""
    home, python = folder / environment.name, environment.python(folder)
    note = home / "installed.json"
    if note.is_file() and json.loads(note.read_text()) == list(environment.requirements):
        return ""
    print(f"making the environment {environment.name}: {', '.join(environment.requirements)}", flush=True)
    venv.create(home, with_pip=True, clear=home.exists())
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    first = [one for one in environment.requirements if one == TORCH]
    for call in ([*pip, *first], [*pip, *environment.requirements]) if first else ([*pip, *environment.requirements],):
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
            return f"pip: {lines[-1]}"
    note.write_text(json.dumps(environment.requirements))
    return ""
