"""The page of a run is one file that needs nothing else."""

from __future__ import annotations

import html.parser
import json

from modelpress.api.artifact import Refused
from modelpress.compress.report import page
from modelpress.compress.report.document import Decision, Report


class Wellformed(html.parser.HTMLParser):
    """Knows which elements are open, and every address that a browser would fetch."""

    VOID = {"meta", "br"}

    def __init__(self):
        super().__init__()
        self.open, self.fetched = [], []

    def handle_starttag(self, tag, attrs):
        self.fetched += [value for name, value in attrs if name in ("src", "href") and not value.startswith("#")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_fetches_nothing(a_report):
    parser = Wellformed()
    parser.feed(page.html(a_report()))
    assert parser.open == []
    assert [address for address in parser.fetched if not address.startswith("data:")] == []


def test_what_users_wrote_is_escaped(a_report):
    refused = Refused(recipe="<script>x</script>", form="TFLite", reason="NotFinite", message="a & b")
    text = page.html(a_report(refused=(refused,)))
    assert "<script>" not in text
    assert "a &amp; b" in text


def test_a_run_without_candidates_has_a_page(a_report):
    decision = Decision(serves="Nothing", reason="NoCandidate", message="Nothing could be built.")
    assert "Nothing could be built." in page.html(a_report(candidates=(), decision=decision, traffic=None))


def test_plots_are_drawn_the_same_each_time(a_report):
    assert page.html(a_report()).count("<svg") == 2


def test_page_and_document_are_written_side_by_side(a_report, tmp_path):
    page.write(a_report(), tmp_path)
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    assert Report.from_json((tmp_path / "report.json").read_bytes()) == a_report()
    assert json.loads((tmp_path / "report.json").read_text())["traffic"]["hits"] == 600
