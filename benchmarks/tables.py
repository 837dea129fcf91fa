"""Tables of a page, said as they are made."""


def row(*cells: object) -> str:
    """Of a table."""
    line = f"| {' | '.join(map(str, cells))} |"
    print(line, flush=True)
    return line


def head(*cells: str) -> list[str]:
    """The first two lines of a table."""
    return [row(*cells), "|---" * len(cells) + "|"]
