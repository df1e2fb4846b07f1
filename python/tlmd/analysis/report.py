"""One self-contained HTML file: records against experiment, tables, figures."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from tlmd import __version__
from tlmd.analysis.records import columns, table_rows
from tlmd.run.files import write_atomic, write_csv

CSS = """
body{font:16px/1.5 system-ui,sans-serif;color:#1c2733;background:#fff;max-width:62rem;
margin:2.5rem auto;padding:0 1.5rem}
h1{font-size:1.7rem;margin-bottom:.3rem}h2{font-size:1.15rem;margin-top:2.2rem;border-bottom:1px solid #d8e0e8}
table{border-collapse:collapse;width:100%;font-size:.93rem}th,td{padding:.35rem .7rem;border-bottom:1px solid #e6ebf0}
th{text-align:left;color:#53657a;font-weight:600}td.n{text-align:right;font-variant-numeric:tabular-nums}
.note{color:#53657a;font-size:.85rem}img{max-width:100%;height:auto}figure{margin:1.2rem 0}
"""


def write_figure(path: str | Path, figure: Figure) -> None:
    """A figure as PNG."""
    write_atomic(path, lambda temporary: temporary.write_bytes(_png(figure)))


def write_curves(path: str | Path, curves: Mapping[str, np.ndarray]) -> None:
    """Columns of equal length as CSV."""
    rows = np.stack(list(curves.values()), axis=1).tolist()
    write_csv(path, [{name: f"{value:.8g}" for name, value in zip(curves, row, strict=True)} for row in rows], curves)


def write_report(
    path: str | Path,
    title: str,
    records: Sequence[dict],
    figures: Mapping[str, Figure] | None = None,
    tables: Mapping[str, Sequence[Mapping[str, object]]] | None = None,
) -> None:
    """Write the report: records (records.RECORD_KEYS), figures by caption, further tables by caption as lists of rows.

    A row is a mapping from column to text or number; the first row gives the columns.
    """
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="note">tlmd {escape(__version__)}. Errors are one standard error.</p>',
    ]
    if records:
        parts += ["<h2>Computed and measured</h2>", _table(columns(records), table_rows(records)), _sources(records)]
    for caption, rows in (tables or {}).items():
        if rows:
            cells = [[_cell(row.get(name, "")) for name in rows[0]] for row in rows]
            parts += [f"<h2>{escape(caption)}</h2>", _table(tuple(rows[0]), cells)]
    for caption, figure in (figures or {}).items():
        image = base64.b64encode(_png(figure)).decode()
        parts += [
            f"<h2>{escape(caption)}</h2>",
            f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{image}"></figure>',
        ]
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{CSS}</style></head>\n<body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )
    write_atomic(path, lambda temporary: temporary.write_text(page, encoding="utf-8"))


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _cell(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(str(name))}</th>" for name in columns)
    body = "\n".join(
        "<tr>" + "".join(f'<td class="{"n" if _is_number(cell) else ""}">{escape(cell)}</td>' for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"


def _is_number(cell: str) -> bool:
    return cell[:1].isdigit() or cell[:1] in {"+", "-", "("}


def _sources(records: Sequence[dict]) -> str:
    lines = "".join(f"<li>{escape(record['quantity'])}: {escape(record['source'])}</li>" for record in records)
    return f'<ul class="note">{lines}</ul>'
