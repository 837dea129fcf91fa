"""Names: a value is a noun and an action a verb, so words that name nothing are no identifiers."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORDS = "told asked given found made shown held own each most least some apart seen led"
BANNED = frozenset(WORDS.split())  # also with underscores before or after
# Names that configs or flags spell, or that are keys in files that are already written: (file, name).
EXEMPT = {
    ("diffjax/loss/simple.py", "given"),  # `train.loss=regression(given=0.8)` in configs
    ("diffjax/nets/transformer.py", "shown"),  # the path of a parameter in checkpoints
    ("diffjax/reports/evaluation_report.py", "made"),  # a key of the report's file of numbers
}
FILES = sorted({*(ROOT / "diffjax").rglob("*.py"), *ROOT.glob("*.py"), *(ROOT / "configs").rglob("*.py")})


def bound_names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every name that a file binds, with its line: variables, parameters, functions, classes, imports, attributes."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name, node.lineno
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, node.lineno
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name, node.lineno
            case ast.MatchMapping(rest=str(name)):
                yield name, node.lineno
            case ast.arg(arg=name) | ast.alias(asname=str(name)):
                yield name, node.lineno


def banned_names(source: str) -> list[tuple[str, int]]:
    return [(name, line) for name, line in bound_names(ast.parse(source)) if name.strip("_") in BANNED]


def test_no_identifier_is_a_word_that_names_nothing() -> None:
    faults, unused = [], set(EXEMPT)
    for path in FILES:
        file = path.relative_to(ROOT).as_posix()
        for name, line in banned_names(path.read_text()):
            unused.discard((file, name))
            if (file, name) not in EXEMPT:
                faults.append(f"{file}:{line}: {name}")
    assert not faults, "name these by a noun (a value) or a verb (an action):\n" + "\n".join(faults)
    assert not unused, f"exempt without need: {sorted(unused)}"


def test_every_kind_of_binding_is_looked_at() -> None:
    sources = (
        "told = 1", "told: int", "a, *told = b", "(told := 1)", "for told in b: pass", "[a for told in b]",
        "with a as told: pass", "a.told = 1", "self._told += 1", "def told(): pass", "async def told(): pass",
        "class told: pass", "def f(told): pass", "def f(*, told=1): pass", "def f(*told): pass", "def f(**told): pass",
        "lambda told: 1", "import a as told", "from a import b as told",
        "try: pass\nexcept E as told: pass", "match a:\n case told: pass", "match a:\n case [*told]: pass",
        "match a:\n case {**told}: pass", "class A:\n told: int",
    )  # fmt: skip
    missed = [source for source in sources if not banned_names(source)]
    assert not missed
    uses = ("f(told=1)", "a.told", "told", "told_to_stop = 1", "'told'")
    assert not [source for source in uses if banned_names(source)]
