"""The functions that the training config passes through, and its names there: python tests/config_flow.py

Counted over the syntax tree. The walk begins where the command has read `--config`, and where a `plan`, which holds the
config, is a parameter. A value is the config, one of its sections (`config.train`) or a copy of it, but no field of a
section (`config.train.steps`). Where it is an argument of a function of the package, the walk goes on there.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "diffjax"
SECTIONS = {"data", "model", "train", "sample"}
PLANNED = re.compile(r"plan\.config(\.(data|model|train|sample))?")
KEEPING = {"replace", "inherit_measured", "complete_config"}  # calls that return a config
START = ("commands.training_run", ("check_run", "train_run"))
Parameter = tuple[str, str, str]  # module, function, name


class Source:
    """The functions of the package, and what each module calls them."""

    def __init__(self) -> None:
        self.functions: dict[tuple[str, str], ast.FunctionDef] = {}
        self.names: dict[str, dict[str, tuple[str, str | None]]] = {}
        for path in sorted(PACKAGE.rglob("*.py")):
            module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
            tree = ast.parse(path.read_text())
            self.functions |= {(module, node.name): node for node in tree.body if isinstance(node, ast.FunctionDef)}
            self.names[module] = dict(self._imports(tree))

    def _imports(self, tree: ast.Module) -> Iterator[tuple[str, tuple[str, str | None]]]:
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("diffjax"):
                module = (node.module or "").removeprefix("diffjax").removeprefix(".")
                for alias in node.names:
                    inner = f"{module}.{alias.name}".removeprefix(".")
                    file = PACKAGE / inner.replace(".", "/")
                    is_module = file.with_suffix(".py").exists() or (file / "__init__.py").exists()
                    yield alias.asname or alias.name, (inner, None) if is_module else (module, alias.name)

    def called(self, module: str, function: ast.expr) -> tuple[str, str] | None:
        """The function of the package that an expression names."""
        if isinstance(function, ast.Name):
            place, name = self.names[module].get(function.id, (module, function.id))
            key = (place, name or function.id)
        elif isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
            place, name = self.names[module].get(function.value.id, ("", None))
            key = (place, function.attr)
        else:
            return None
        return key if key in self.functions else None


def flow(source: Source) -> set[Parameter]:
    """Every parameter of a function of the package that is the training config, or a section of it."""
    module, names = START
    waiting: list[Parameter] = [(module, name, "config") for name in names]
    for place, node in source.functions.items():
        if "plan" in {argument.arg for argument in node.args.args}:
            waiting += passed(source, *place, "plan")
    found: set[Parameter] = set()
    while waiting:
        parameter = waiting.pop()
        if parameter not in found:
            found.add(parameter)
            waiting += passed(source, *parameter)
    return found


def passed(source: Source, module: str, function: str, parameter: str) -> Iterator[Parameter]:
    """The parameters that this one is an argument for."""
    node = source.functions[module, function]
    names = aliases(node, parameter)
    for call in (each for each in ast.walk(node) if isinstance(each, ast.Call)):
        target = source.called(module, call.func)
        if target is None:
            continue
        arguments = source.functions[target].args
        parameters = [each.arg for each in (*arguments.posonlyargs, *arguments.args)]
        given = [*zip(parameters, call.args, strict=False), *((word.arg, word.value) for word in call.keywords)]
        yield from ((*target, name) for name, value in given if name and is_config(value, names))


def aliases(node: ast.FunctionDef, parameter: str) -> set[str]:
    """The names that the config, or a section of it, has in a function."""
    names = {parameter} - {"plan"}
    for assignment in (each for each in ast.walk(node) if isinstance(each, ast.Assign)):
        pairs = [(assignment.targets[0], assignment.value)]
        if isinstance(assignment.targets[0], ast.Tuple) and isinstance(assignment.value, ast.Tuple):
            pairs = list(zip(assignment.targets[0].elts, assignment.value.elts, strict=False))
        names |= {to.id for to, value in pairs if isinstance(to, ast.Name) and is_config(value, names)}
    return names


def is_config(value: ast.expr, names: set[str]) -> bool:
    """Whether an expression is the config, a section or a copy of it."""
    if isinstance(value, ast.Call):
        called = ast.unparse(value.func).split(".")[-1]
        return called in KEEPING and bool(value.args) and is_config(value.args[0], names)
    text = ast.unparse(value)
    if PLANNED.fullmatch(text):
        return True
    if isinstance(value, ast.Attribute):
        return value.attr in SECTIONS and ast.unparse(value.value) in names
    return text in names


def main() -> None:
    """Print every function with the config's name there, and both counts."""
    found = sorted(flow(Source()))
    for module, function, name in found:
        print(f"{module}.{function}({name})")
    functions = {(module, function) for module, function, _ in found}
    print(f"functions {len(functions)}, names {len({name for *_, name in found})}, pairs {len(found)}")


if __name__ == "__main__":
    main()
