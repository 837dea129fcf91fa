"""Slots: texts that name something in one module, and never reach further."""

import types
from collections.abc import Callable

import pytest

from diffjax import grids, nets, order, predict, schedule, steps, times, weights
from diffjax.errors import UserError
from diffjax.experiment import specs
from diffjax.noise import Gaussian
from diffjax.order import Order
from diffjax.predict import Parameterization
from diffjax.protocols import Schedule
from diffjax.utils import kinds

MAKERS = [(steps, name) for name in steps.__all__] + [(weights, "p2"), (times, "logit_normal"), (nets, "MLP")]
VALUES = [(schedule, "cosine", Schedule), (predict, "v", Parameterization), (order, "together", Order)]


def scheduled(text: str):
    return specs.parse_value(schedule, text, "model.schedule", Schedule)


@pytest.mark.parametrize(("module", "name"), MAKERS, ids=[name for _, name in MAKERS])
def test_a_maker_alone_is_a_maker_called(module, name) -> None:
    alone, called = specs.instantiate(module, name, "field"), specs.instantiate(module, f" {name}() ", "field")
    assert type(alone) is type(called)
    assert not isinstance(alone, type)


@pytest.mark.parametrize("text", ["ddim", "ddim()", "ddim(0.0)", "ddim( eta=0.0 )"])
def test_texts_that_mean_the_same_are_one_object(text) -> None:
    assert specs.instantiate(steps, text, "sampler") is steps.ddim()
    with pytest.raises(UserError, match=r"^sampler: "):
        specs.instantiate(steps, text + ")", "sampler")


@pytest.mark.parametrize(("module", "name", "kind"), VALUES, ids=[name for _, name, _ in VALUES])
def test_a_value_is_itself_and_takes_no_arguments(module, name, kind) -> None:
    assert specs.parse_value(module, name, "field", kind) is getattr(module, name)
    for arguments in ("()", "(0.5)", "(x=1)"):
        with pytest.raises(UserError, match=f"^field: {name} "):
            specs.parse_value(module, name + arguments, "field", kind)


def test_makers_of_values_are_called_with_values_of_their_module() -> None:
    assert scheduled("shift(flow, 3.0)") is schedule.shift(schedule.flow, 3.0)
    twice = schedule.shift(schedule.shift(schedule.cosine, 2.0), 0.5)
    assert scheduled("shift(schedule=shift(cosine, 2.0), factor=0.5)") is twice
    assert scheduled("discrete([0.1, 0.2])") is schedule.discrete((0.1, 0.2))
    assert scheduled("zero_terminal(linear_beta)") is schedule.zero_terminal(schedule.linear_beta)


def test_a_maker_of_values_alone_is_called() -> None:
    assert scheduled("edm_of") is schedule.edm_of()
    assert scheduled("edm_of(rho=1.0)") is not schedule.edm_of()
    with pytest.raises(UserError, match=r"^model\.schedule: .*'schedule'.*: schedule, factor$"):
        scheduled("shift")


def test_arguments_of_ones_own_are_added_and_cannot_be_given() -> None:
    net = specs.instantiate(nets, "UNet(width=16, multipliers=[1, 2, 4])", "model.net", classes=7)
    assert net == nets.UNet(width=16, multipliers=(1, 2, 4), classes=7)
    with pytest.raises(UserError, match=r"^model\.net: classes "):
        specs.instantiate(nets, "UNet(classes=3)", "model.net", classes=7)


def test_leading_arguments_come_first() -> None:
    noise = Gaussian(schedule.cosine, predict.v)
    given = specs.instantiate(grids, "karras(0.01, rho=5.0)", "grid", noise, 4)
    assert given.tolist() == grids.karras(noise, 4, sigma_min=0.01, rho=5.0).tolist()
    with pytest.raises(UserError, match=r"^grid: .*'steps'.*sigma_min"):
        specs.instantiate(grids, "karras(steps=3)", "grid", noise, 4)


@pytest.mark.parametrize("module", [schedule, predict, order, steps, grids, weights, times, nets])
def test_an_unknown_name_lists_the_choices(module) -> None:
    for read in (
        lambda text: specs.instantiate(module, text, "field"),
        lambda text: specs.parse_value(module, text, "field", None),
    ):
        for text in ("nothing_like_it", "nothing_like_it(3)"):
            with pytest.raises(UserError, match=r"^field: .*'nothing_like_it'") as told:
                read(text)
            assert all(name in str(told.value) for name in module.__all__)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("edm_of(sigma_mim=1.0)", "sigma_mim.*: sigma_min, sigma_max, rho$"),
        ("edm_of(1.0, 2.0, 3.0, 4.0)", ": sigma_min, sigma_max, rho$"),
        ("edm_of(rho='7')", "rho .*'7'"),
        ("edm_of(rho=True)", "rho .*True"),
        ("edm_of(rho=1e999)", "rho .*inf"),
        ("edm_of(rho=[7])", r"rho .*\(7,\)"),
        ("shift(3.0, 2.0)", "schedule .*3.0"),
        ("shift(flow, cosine)", "factor .*<function"),
        ("shift(flow, -1.0)", "factor .*-1.0"),
        ("shift(flow(0.3), 2.0)", "flow "),
        ("shift(flw, 2.0)", "'flw'.*cosine"),
        ("discrete(0.1)", "betas .*0.1"),
        ("discrete(['0.1'])", "betas "),
        ("discrete([])", "betas "),
        ("discrete([2.0])", "betas "),
    ],
)
def test_arguments_that_do_not_fit_name_the_field_and_the_argument(text, says) -> None:
    with pytest.raises(UserError, match=rf"^model\.schedule: .*{says}"):
        scheduled(text)


@pytest.mark.parametrize("text", ["MLP(width=2.5)", "UNet(multipliers=3)", "UNet(multipliers=(1, 'a'))", "MLP(UNet)"])
def test_arguments_of_nets_have_the_types_of_their_fields(text) -> None:
    with pytest.raises(UserError, match=r"^model\.net: (width|multipliers) "):
        specs.instantiate(nets, text, "model.net")


OUTSIDE = [
    "os@system",
    "schedule@flow",
    "__import__('os')",
    "__import__('os').system('true')",
    "eval('1')",
    "jnp",
    "functools",
    "inverse",
    "_discrete((0.1,))",
    "flow.__globals__",
    "flow.__globals__['jax']",
    "shift(flow.__globals__, 2.0)",
    "shift(flow, __import__('os'))",
    "cosine if True else flow",
    "lambda t: t",
    "(lambda t: t)(1)",
    "[flow for _ in (1,)][0]",
    "(flow := cosine)",
    "f'{flow}'",
    "edm_of()()",
    "edm_of(*(1.0, 2.0))",
    "edm_of(**{'rho': 3.0})",
    "edm_of(**{})",
    "edm_of(rho=1.0, rho=2.0)",
    "edm_of(rho=2 ** 3)",
    "edm_of(rho=(lambda: 3.0)())",
    "flow; cosine",
    "flow\ncosine",
    "import os",
    "",
    "\0",
    "'flow'",
    "3.0",
    "None",
]


@pytest.mark.parametrize("text", OUTSIDE)
def test_nothing_else_is_reached_and_nothing_is_evaluated(text) -> None:
    with pytest.raises(UserError, match=r"^model\.schedule: "):
        scheduled(text)


DEEP: dict[str, Callable[[int], str]] = {
    "parentheses": lambda n: "(" * n + "flow" + ")" * n,
    "calls": lambda n: "shift(" * n + "flow" + ", 2.0)" * n,
    "results": lambda n: "flow" + "()" * n,
    "attributes": lambda n: "flow" + ".a" * n,
    "sums": lambda n: "1" + "+1" * n,
    "signs": lambda n: "shift(flow, " + "-" * n + "1)",
    "lists": lambda n: "discrete(" + "[" * n + "]" * n + ")",
    "choices": lambda n: "flow if 1 else " * n + "flow",
}


@pytest.mark.parametrize("nested", DEEP.values(), ids=DEEP)
def test_huge_expressions_are_unreadable_on_one_short_line(nested) -> None:
    for depth in (250, 500, 1_000, 10_000):
        with pytest.raises(UserError, match=r"^model\.schedule: ") as told:
            scheduled(nested(depth))
        assert len(str(told.value)) < 300
        assert "\n" not in str(told.value)


def test_a_maker_without_annotations_is_believed_when_called() -> None:
    """Who writes a schedule of their own need not annotate it."""

    def bent(power=2.0):
        return lambda t: (1 - t**power, t)

    module = types.ModuleType("theirs")
    vars(module).update(__all__=["bent"], bent=bent)
    assert specs.parse_value(module, "bent(power=3.0)", "model.schedule", Schedule)(0.5)[0] == 1 - 0.5**3


@pytest.mark.parametrize(
    ("given", "kind", "fits"),
    [
        (1, int, True),
        (True, int, False),
        (1.0, int, False),
        (1, float, True),
        (False, float, False),
        (float("nan"), float, False),
        ("a", str, True),
        ((1, 2), tuple[int, ...], True),
        ((1, 2.5), tuple[int, ...], False),
        ((), tuple[float, ...], True),
        ([1], tuple[int, ...], False),
        (None, str, False),
        (len, Callable[[str], int], True),
        ("len", Callable[[str], int], False),
    ],
)
def test_plain_kinds_are_told_apart(given, kind, fits) -> None:
    assert kinds.matches_type(given, kind) is fits
