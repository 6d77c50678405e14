"""The program `modelpress`: thin commands over library functions; heavy imports happen inside the commands."""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from modelpress import __version__
from modelpress.api.errors import Invalid, InvalidResource, Transient
from modelpress.api.message import EXIT_FAILED, EXIT_INVALID
from modelpress.cli import cache, compress, evaluate, operator, plan, report, run, serve, sidecar, tensorboard, validate

app = typer.Typer(
    name="modelpress",
    help="Compress TensorFlow models, prove the result against a gate, and serve it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)

for module in (run, compress, evaluate, serve, sidecar, cache, operator, validate, plan, report, tensorboard):
    module.register(app)


@app.callback()
def program() -> None:
    """Compress TensorFlow models, prove the result against a gate, and serve it."""


@app.command()
def version() -> None:
    """Print the version."""
    Console().print(__version__, highlight=False)


def main() -> None:
    """Run a command; bad input ends with its sentence on stderr and exit status 64, without a stack trace."""
    try:
        app()
    except InvalidResource as error:
        for problem in error.problems:
            Console(stderr=True).print(f"{problem.reason}: {problem}", highlight=False, markup=False, soft_wrap=True)
        sys.exit(EXIT_INVALID)
    except Invalid as error:
        Console(stderr=True).print(f"{error.reason}: {error}", highlight=False, markup=False, soft_wrap=True)
        sys.exit(EXIT_FAILED if isinstance(error, Transient) else EXIT_INVALID)
