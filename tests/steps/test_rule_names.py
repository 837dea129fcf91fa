"""A step rule has a name, by which it is refused."""

from dataclasses import replace
from functools import partial

import pytest

from diffjax import Gaussian, Step, TokenNoise, UserError, keys, order, predict, sample, schedule, steps


def by_hand(keys, noise, denoise, x, t, s, carry):
    return denoise(x, t), carry


def makes_a_rule() -> Step:
    return Step(lambda x: None, lambda keys, noise, denoise, x, t, s, carry: (x, carry))


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        (steps.heun(), "heun"),
        (makes_a_rule(), "makes_a_rule"),
        (Step(lambda x: None, by_hand), f"{__name__}.by_hand"),
        (Step(lambda x: None, by_hand, name="mine"), "mine"),
        (Step(lambda x: None, partial(by_hand), name="mine"), "mine"),
        (Step(lambda x: None, partial(by_hand)), "functools.partial"),
    ],
)
def test_a_rule_is_refused_by_the_name_of_its_maker_or_of_its_function(rule, name) -> None:
    noise = Gaussian(schedule.cosine, predict.v)
    with pytest.raises(UserError, match=f"^step: {name} .*TokenNoise"):
        sample(keys(0, 2), noise, order.together, lambda x, t, cond: x, (2,), step=replace(rule, needs=TokenNoise))
