"""The command line's verbs, in the order that its help lists them."""

from __future__ import annotations

from typing import Annotated

import typer

from . import learning, looking

HELP = "Find the cheapest way to train a network to a target, train it that way, and show the evidence."
app = typer.Typer(help=HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
VERBS = (
    learning.race, learning.fit, learning.ablate, looking.evaluate, looking.predict, looking.methods, looking.runs,
    looking.report, looking.download, looking.doctor,
)  # fmt: skip


def _version(show: bool) -> None:
    if show:
        from .. import __version__

        print(f"steepest {__version__}")
        raise typer.Exit()


@app.callback()
def steepest(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)] = False,
) -> None:
    """Hold what is common to all verbs: nothing but the version."""


for verb in VERBS:
    app.command()(verb)
