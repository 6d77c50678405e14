"""The page of a run: one self-contained HTML file, readable offline and years later."""

from __future__ import annotations

from pathlib import Path

import jinja2

from modelpress.compress.report import plots, tables
from modelpress.compress.report.document import Report
from modelpress.storage import durable

PAGE, DOCUMENT = "report.html", "report.json"


def html(report: Report) -> str:
    """The page as text; every value is escaped, the plots are inline SVG."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("modelpress.compress.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("page.html.j2").render(
        report=report,
        rows=list(tables.rows(report)),
        verdicts=list(tables.verdict_rows(report)),
        warnings=list(tables.warnings(report)),
        traffic=list(tables.traffic_rows(report.traffic)) if report.traffic else [],
        ratios=tables.RATIOS,
        costs=plots.costs(report) if report.candidates else None,
        losses=plots.losses(report),
        trials=list(tables.trial_rows(report.trials)),
        front=tables.FRONT,
        pareto=plots.pareto(report.trials),
    )


def write(report: Report, directory: Path) -> None:
    """Put report.html and report.json into a directory, replacing those of an earlier run."""
    durable.write(directory / PAGE, html(report).encode())
    durable.write(directory / DOCUMENT, report.model_dump_json(by_alias=True, exclude_none=True, indent=1).encode())
