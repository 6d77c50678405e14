"""Writes what is generated from the models: the CRD and two pages of the manual. For developers of modelpress.

python -m modelpress.cli.generate            writes the files below the current directory
python -m modelpress.cli.generate --check    says which of them are out of date, and ends with 1 if any is
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modelpress.api import crd, reference


def files() -> dict[str, str]:
    """Path below the repository's root to content."""
    return {
        f"crds/{crd.FILE_NAME}": crd.text(),
        f"docs/reference/{reference.FIELDS_FILE}": reference.fields_page(),
        f"docs/reference/{reference.API_FILE}": reference.api_page(),
    }


def outdated(root: Path) -> list[str]:
    """Generated files that differ from what they should hold, or are missing."""
    return [path for path, text in files().items() if not _holds(root / path, text)]


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def generate(
    root: Annotated[Path, typer.Argument(help="Root of the repository.")] = Path("."),
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if a file is out of date.")] = False,
) -> None:
    """Write or check the generated files."""
    stale = outdated(root)
    if check and stale:
        typer.echo(f"out of date: {', '.join(stale)}; run `python -m modelpress.cli.generate`", err=True)
        raise typer.Exit(1)
    for path in stale:
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(files()[path], encoding="utf-8")
        typer.echo(f"wrote {path}")


if __name__ == "__main__":
    typer.run(generate)
