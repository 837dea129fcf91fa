"""A self-contained page: text, tables and pictures in one HTML file, without scripts or links."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from diffjax.errors import UserError
from diffjax.utils.files import write_atomically

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # nothing is fetched
STYLE = """
:root { color-scheme: light dark; --line: #8884; --aside: light-dark(#666, #999); --alarm: light-dark(#c22, #f66); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 1rem 0; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { padding-left: 0; }
th:first-child, td:first-child, th.last, td.last { text-align: left; }
tr.alarm td, ul.alarms { color: var(--alarm); font-weight: 600; }
figure { margin: 1rem 0; } img { max-width: 100%; background: #fff; border-radius: 4px; }
.notes { color: var(--aside); font-size: .9rem; }
ul { padding-left: 1.2rem; }
"""


def table(rows: Sequence[Sequence[str]], alarms: Sequence[int] = ()) -> str:
    """A table whose first row is its head; rows with these numbers, from 1, are highlighted."""
    head, *body = rows
    lines = [f"<tr>{_format_row('th', head)}</tr>"]
    for number, row in enumerate(body, 1):
        kind = ' class="alarm"' if number in alarms else ""
        lines.append(f"<tr{kind}>{_format_row('td', row)}</tr>")
    return '<div class="wide"><table>\n' + "\n".join(lines) + "\n</table></div>"


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{html.escape(text)}</p>"


def bullet_list(lines: Sequence[str], kind: Literal["notes", "alarms"] = "notes") -> str:
    """A list of notes, or of alarms."""
    items = "\n".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f'<ul class="{kind}">\n{items}\n</ul>'


def figure(path: str | Path, caption: str) -> str:
    """A PNG file as a figure embedded in the page, with the caption as its alternative text.

    Raises UserError if there is no such file.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: no such picture; write it before the report that shows it") from error
    coded = base64.b64encode(data).decode()
    return f'<figure><img alt="{html.escape(caption)}" src="data:image/png;base64,{coded}"></figure>'


def section(title: str, *parts: str) -> str:
    """A heading and its content."""
    return "\n".join([f"<h2>{html.escape(title)}</h2>", *parts])


def write_page(path: str | Path, title: str, *parts: str) -> None:
    """Writes the page atomically."""
    title = html.escape(title)
    page = (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        '<meta name="viewport" content="width=device-width">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )
    write_atomically(path, lambda file: file.write(page.encode(errors="backslashreplace")))


def _format_row(kind: str, row: Sequence[str]) -> str:
    """The last of more than two columns is text, aligned left."""
    text_column = len(row) - 1 if len(row) > 2 else None
    attributes = [' class="last"' if column == text_column else "" for column in range(len(row))]
    return "".join(
        f"<{kind}{attribute}>{html.escape(text)}</{kind}>" for attribute, text in zip(attributes, row, strict=True)
    )
