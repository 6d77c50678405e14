"""`modelpress serve` on the command line."""

from __future__ import annotations

import pytest

from modelpress import __version__
from modelpress.api.errors import Invalid
from modelpress.server import process


def test_help_lists_the_flags(capsys):
    assert process.main(["--help"]) == 0
    assert "--model_base_path=" in capsys.readouterr().out


def test_version_names_both_parts(capsys):
    assert process.main(["--version"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"modelpress serve: {__version__}\nTensorFlow Library: 2.")


def test_a_bad_command_line_ends_before_tensorflow_is_loaded():
    with pytest.raises(Invalid):
        process.main(["--bogus"])
