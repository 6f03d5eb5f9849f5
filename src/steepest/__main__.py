"""`python -m steepest` is the command line."""

from .cli import entry

entry()
