"""Guesslang, which says what language a text is written in: strings in, tables inside; and real sources for it."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from nets import fashion

fetching = fashion.fetching

MODEL = fetching.Package(
    "guesslang",
    "2.2.1",
    "guesslang-2.2.1-py3-none-any.whl",
    "36bd12130515ee0e637f7255340ba92ea919d53423743f4c1b0c73727a5499cb",
)
SOURCES = fetching.Package(
    "pygments",
    "2.19.2",
    "pygments-2.19.2.tar.gz",
    "636cb2477cec7f8952536970bc533bc43743542f70392ae026374600add5b887",
    sdist=True,
)
"""Its tests have real files in hundreds of languages."""
EXAMPLES = PurePosixPath("pygments-2.19.2/tests/examplefiles")
FOLDERS = (
    "bash=sh c=c clojure=clj cobol=cbl coffee-script=coffee common-lisp=lisp cpp=cpp csharp=cs css=css "
    "dart=dart delphi=pas docker=dockerfile elixir=ex erlang=erl fortran=f90 go=go groovy=groovy haskell=hs "
    "html=html ini=ini java=java js=js json=json julia=jl kotlin=kt lua=lua make=makefile matlab=matlab md=md "
    "nasm=asm objective-c=mm ocaml=ml perl=pm php=php powershell=ps1 prolog=prolog python=py rb=rb rust=rs "
    "scala=scala splus=r swift=swift toml=toml ts=ts tsql=sql vb.net=vba verilog=v xml=xml yaml=yaml"
)
"""Folder of the examples = the model's name of that language."""
LEAST, USUAL, MOST = 300, 1000, 4000
"""Bytes of a piece of a file."""
MOST_PIECES = 24
"""Of one file."""
FILES = ("saved_model.pb", "variables/variables.data-00000-of-00001", "variables/variables.index")


def write(folder: Path, wheel: Path, sources: Path) -> None:
    """`model` (the SavedModel as it was published) and evaluation.npz: pieces of sources and their languages."""
    for name in FILES:
        path = folder / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(fetching.read(wheel, f"guesslang/data/model/{name}"))
    languages = [*json.loads(fetching.read(wheel, "guesslang/data/languages.json")).values()]
    rows = [(text, languages.index(language)) for text, language in _pieces(sources)]
    texts, labels = zip(*rows, strict=True)
    np.savez_compressed(folder / "evaluation.npz", inputs=np.array(texts, "S"), label=np.array(labels, np.int64))


def _pieces(sources: Path) -> Iterator[tuple[bytes, str]]:
    """Pieces of whole lines, and the language of each."""
    languages = dict(pair.split("=") for pair in FOLDERS.split())
    with tarfile.open(sources) as archive:
        for member in sorted(archive.getmembers(), key=lambda one: one.name):
            path = PurePosixPath(member.name)
            known = path.parent.parent == EXAMPLES and path.suffix != ".output" and path.parent.name in languages
            if known and member.isfile() and (opened := archive.extractfile(member)):
                for piece in _cut(opened.read()):
                    yield piece, languages[path.parent.name]


def _cut(content: bytes) -> list[bytes]:
    pieces = [b""]
    for line in content.replace(b"\0", b"").splitlines(keepends=True):
        if len(pieces[-1]) >= USUAL:
            pieces.append(b"")
        pieces[-1] += line
    return [piece[:MOST] for piece in pieces[:MOST_PIECES] if len(piece) >= LEAST]
