"""Runs steepest in the programs it is made for: an environment for each host, its script, and a table of what came out.

python tests/hosts/run.py                   every host, in a temporary folder that is removed afterwards
python tests/hosts/run.py skorch accelerate only these
python tests/hosts/run.py --folder DIR      environments are made in DIR, kept there and used again
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
SOURCES = ("src", "pyproject.toml", "README.md", "LICENSE")


@dataclass(frozen=True)
class Host:
    """A program that drives optimizers: what to install beside steepest, and the script that trains through it."""

    name: str
    script: str
    requirements: tuple[str, ...] = ()

    def packages(self) -> list[str]:
        """Return the names of the packages, without their versions."""
        return [requirement.split(">")[0] for requirement in self.requirements]


# PyTorch comes with steepest, which says which versions it takes.
# The releases 2.6.2 and 2.6.3 of lightning and pytorch-lightning were malicious; lightning installs both names.
HOSTS = (
    Host("torch", "plain_loop.py"),
    Host("accelerate", "with_accelerate.py", ("accelerate>=1.12,<2",)),
    Host("lightning", "with_lightning.py", ("lightning>=2.6.6,<3", "pytorch-lightning>=2.6.6,<3")),
    Host("skorch", "with_skorch.py", ("skorch>=1.3,<2",)),
    Host("mlflow", "with_mlflow.py", ("mlflow-skinny>=3.1,<4",)),
    Host("transformers", "with_transformers.py", ("transformers>=5.20,<6", "accelerate>=1.12,<2")),
)


@dataclass(frozen=True)
class Outcome:
    """One line of the table."""

    host: str
    versions: str
    result: str
    passed: bool
    output: str = ""


def build_wheel(folder: Path) -> Path:
    """Build steepest from a copy of the checkout, so that nothing is written there and nothing stale gets in."""
    shutil.rmtree(folder / "wheel", ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder) as copy:
        for name in SOURCES:
            source = CHECKOUT / name
            if source.is_dir():
                shutil.copytree(source, Path(copy, name), ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
            else:
                shutil.copy(source, copy)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder / "wheel"), copy]
        subprocess.run(command, check=True)
    return next((folder / "wheel").glob("*.whl"))


def install(host: Host, wheel: Path, folder: Path) -> tuple[Path, str]:
    """Make the environment of a host; return its Python and, where pip failed, what it said."""
    home = folder / host.name
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        venv.create(home, with_pip=True)
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    # two calls: the wheel itself always anew, since its version says nothing about the checkout; the rest where it is missing
    calls = ([*pip, str(wheel), *host.requirements], [*pip, "--no-deps", "--force-reinstall", str(wheel)])
    for call in calls:
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        if done.returncode:
            return python, done.stderr
    return python, ""


def versions_of(host: Host, python: Path) -> str:
    """Return the versions installed in an environment: of Python, torch and the host."""
    names = list(dict.fromkeys(["torch", *host.packages()]))
    code = "import json, sys, importlib.metadata as m; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
    done = subprocess.run([str(python), "-c", code, *names], capture_output=True, text=True, check=True)
    return ", ".join(f"{name} {version}" for name, version in json.loads(done.stdout).items())


def run(host: Host, wheel: Path, folder: Path) -> Outcome:
    """Install a host and train through it."""
    print(f"{host.name}: installing ...", file=sys.stderr, flush=True)
    python, failure = install(host, wheel, folder)
    if failure:
        wanted = ", ".join(host.requirements) or "steepest"
        return Outcome(host.name, wanted, "NOT INSTALLED: what pip said is above", False, failure)
    versions = versions_of(host, python)
    print(f"{host.name}: training with {versions} ...", file=sys.stderr, flush=True)
    # one thread: the network is tiny, and on a busy machine threads that wait for each other take a hundred times as long
    settings = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "STEEPEST_CACHE": str(folder / "cache")}
    start = time.monotonic()
    with tempfile.TemporaryDirectory(dir=folder) as work:  # what the host writes into its working folder goes with it
        done = subprocess.run(
            [str(python), str(HERE / host.script)],
            cwd=work,
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        return Outcome(host.name, versions, f"FAILED (exit code {done.returncode})", False, done.stdout + done.stderr)
    summary = done.stdout.strip().splitlines()[-1]
    return Outcome(host.name, versions, f"passed: {summary}, {time.monotonic() - start:.0f} s", True, done.stdout)


def table(outcomes: list[Outcome]) -> str:
    """Return the outcomes as a table: host, versions, result."""
    rows = [("host", "versions", "result"), *((o.host, o.versions, o.result) for o in outcomes)]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return "\n".join(f"{row[0]:<{widths[0]}} | {row[1]:<{widths[1]}} | {row[2]}" for row in rows)


def main() -> int:
    """Run the hosts named on the command line, or all; return 1 if any failed."""
    parser = argparse.ArgumentParser(description="train through every host with torch's optimizer and with steepest's")
    known = {host.name: host for host in HOSTS}
    parser.add_argument("hosts", nargs="*", metavar="host", help=f"which of {', '.join(known)} (all)")
    parser.add_argument("--folder", type=Path, help="where environments are made and kept (a temporary folder, removed)")
    parser.add_argument("--verbose", action="store_true", help="print every check, not those of failed hosts alone")
    options = parser.parse_args()
    unknown = [name for name in options.hosts if name not in known]
    if unknown:
        parser.error(f"unknown host {unknown[0]!r}; expected one of {', '.join(known)}")
    with tempfile.TemporaryDirectory(prefix="steepest-hosts-") as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        wheel = build_wheel(folder)
        outcomes = [run(known[name], wheel, folder) for name in options.hosts or known]
    for outcome in outcomes:
        if options.verbose or not outcome.passed:
            print(f"--- {outcome.host}\n{outcome.output.rstrip()}\n")
    print(table(outcomes))
    return int(not all(outcome.passed for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
