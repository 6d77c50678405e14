"""`modelpress serve`: TensorFlow Serving's API without TensorFlow Serving, for development, CI and arm64."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the program."""

    @app.command(
        short_help="Serve models with TensorFlow Serving's API and flags.",
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )
    def serve(context: typer.Context) -> None:
        """Serve SavedModel and TFLite versions with tensorflow_model_server's flags (--help lists them)."""
        from modelpress.server import process

        raise typer.Exit(process.main(context.args))
