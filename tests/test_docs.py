"""Every example in the README and under docs/ runs as it stands.

Python blocks of a page run one after the other in one namespace; lines that begin with `$ steepest` in console blocks run
through the command line. `customers.csv` is there for them. A block after `<!-- not run -->` is only shown; one after
`<!-- needs NAME -->` runs where that package is installed.
"""

from __future__ import annotations

import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest

import steepest
from steepest.cli import main

ROOT = Path(steepest.__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(
    r"^(?:<!-- (?P<skip>not run|needs \w+) -->\n)?```(?P<kind>python|console)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_example_runs(page: Path, churn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    churn.rename("customers.csv")
    namespace: dict[str, object] = {}
    for block in BLOCK.finditer(page.read_text()):
        if block["skip"] and (block["skip"] == "not run" or find_spec(block["skip"].split()[1]) is None):
            continue
        if block["kind"] == "python":
            exec(compile(block["body"], f"{page.name}", "exec"), namespace)
            continue
        for line in block["body"].splitlines():
            if line.startswith("$ steepest "):
                command, _, note = line.removeprefix("$ steepest ").partition("  # exit ")
                capsys.readouterr()
                assert main(shlex.split(command)) == int(note or 0), capsys.readouterr().err


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGES.md"]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_project_speaks_of_itself_alone() -> None:
    """No machine's path, no registry's host, no tracker's number stands in what we publish."""
    words = re.compile(r"/(?:work|root|tmp)/|py" + r"pi\.org|python" + r"hosted|issue \d", re.IGNORECASE)
    for page in [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGES.md", ROOT / "Makefile", ROOT / "pyproject.toml"]:
        assert not words.search(page.read_text()), page.name
