"""A page that needs nothing but itself: text, tables and pictures in one HTML file, without scripts or links."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path

from diffjax.errors import UserError
from diffjax.files import write_whole

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # nothing is fetched, whatever it says
STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --alarm: #d33; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 1rem 0; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child, th.last, td.last { text-align: left; }
tr.alarm td { color: var(--alarm); font-weight: 600; }
figure { margin: 1rem 0; } img { max-width: 100%; background: #fff; border-radius: 4px; }
figcaption, .told { color: #777; font-size: .9rem; }
ul.told { padding-left: 1.2rem; }
"""


def table(rows: Sequence[Sequence[str]], alarms: Sequence[int] = ()) -> str:
    """A table whose first row is its head; the rows of these numbers, from 1 on, stand out."""
    head, *body = rows
    lines = [f"<tr>{_cells('th', head)}</tr>"]
    for number, row in enumerate(body, 1):
        kind = ' class="alarm"' if number in alarms else ""
        lines.append(f"<tr{kind}>{_cells('td', row)}</tr>")
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{html.escape(text)}</p>"


def told(lines: Sequence[str]) -> str:
    """A list of asides, such as where numbers come from."""
    return '<ul class="told">\n' + "\n".join(f"<li>{html.escape(line)}</li>" for line in lines) + "\n</ul>"


def figure(path: str | Path, caption: str) -> str:
    """A PNG file as a figure, whole within the page. Raises UserError where there is none."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: no such picture; write it before the report that shows it") from error
    caption = html.escape(caption)
    coded = base64.b64encode(data).decode()
    image = f'<img alt="{caption}" src="data:image/png;base64,{coded}">'
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def section(title: str, *parts: str) -> str:
    """A heading and what stands under it."""
    return "\n".join([f"<h2>{html.escape(title)}</h2>", *parts])


def write_page(path: str | Path, title: str, *parts: str) -> None:
    """Writes the page, whole or not at all."""
    title = html.escape(title)
    page = (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        '<meta name="viewport" content="width=device-width">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )
    write_whole(path, lambda file: file.write(page.encode()))


def _cells(kind: str, row: Sequence[str]) -> str:
    """The last column is words, where there are more than two."""
    words = len(row) - 1 if len(row) > 2 else None
    kinds = [' class="last"' if column == words else "" for column in range(len(row))]
    return "".join(f"<{kind}{how}>{html.escape(text)}</{kind}>" for how, text in zip(kinds, row, strict=True))
