"""`modelpress tensorboard` finds the logs of an artifact, or says why there are none."""

from __future__ import annotations

from typer.testing import CliRunner

from modelpress import cli


def test_the_logs_of_an_artifact_are_shown(tmp_path):
    (tmp_path / "tensorboard").mkdir()
    result = CliRunner().invoke(cli.app, ["tensorboard", "--artifact", str(tmp_path), "--port", "7007", "--print"])
    assert result.exit_code == 0
    assert result.stdout.strip().endswith(f"-m tensorboard.main --logdir {tmp_path / 'tensorboard'} --port 7007")


def test_an_artifact_without_training_says_what_would_give_logs(tmp_path):
    result = CliRunner().invoke(cli.app, ["tensorboard", "--artifact", str(tmp_path), "--print"])
    assert "its recipe trained nothing" in str(result.exception)
    assert result.exception.reason == "NotFound"
