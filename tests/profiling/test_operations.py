"""Operations of a compiled program: their kinds, where they come from, and how a trace's time is divided among them."""

from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from diffjax.profiling.hlo_operations import operation_kind, read_program
from diffjax.profiling.operation_times import OTHER_PROGRAMS, WAITING, Span, divide_time, newest_trace, operation_times
from diffjax.profiling.sources import LOSS, REST, operation_source

HLO = """HloModule jit_step, is_scheduled=true

%fused (p.1: f32[2,3], p.2: f32[3,4]) -> f32[2,4] {
  %p.1 = f32[2,3]{1,0} parameter(0)
  %p.2 = f32[3,4]{1,0} parameter(1)
  %dot.1 = f32[2,4]{1,0} dot(%p.1, %p.2), lhs_contracting_dims={1}, rhs_contracting_dims={0}, metadata={op_name="jit(step)/jvp(Net)/Dense_0/dot"}
  ROOT %tanh.1 = f32[2,4]{1,0} tanh(%dot.1), metadata={op_name="jit(step)/jvp(Net)/tanh"}
}

%body (arg: (s32[], f32[2,4])) -> (s32[], f32[2,4]) {
  %arg = (s32[], f32[2,4]{1,0}) parameter(0)
  %add.1 = f32[2,4]{1,0} add(%arg, %arg), metadata={op_name="jit(step)/optimizer/while/body/add"}
  ROOT %tuple.1 = (s32[], /*index=1*/f32[2,4]{1,0}) tuple(%add.1)
}

ENTRY %main (a: f32[2,3], b: f32[3,4]) -> f32[2,4] {
  %a = f32[2,3]{1,0} parameter(0), metadata={op_name="flat_args[0]"}
  %b = f32[3,4]{1,0} parameter(1)
  %copy.1 = f32[2,3]{0,1} copy(%a), metadata={op_name="flat_args[0]"}
  %copy.2 = f32[2,3]{1,0} copy(%copy.1)
  %fusion.1 = f32[2,4]{1,0} fusion(%copy.2, %b), kind=kLoop, calls=%fused, metadata={op_name="jit(step)/jvp(Net)/tanh"}
  %gemm.1 = f32[2,4]{1,0} custom-call(%fusion.1), custom_call_target="__cublas$gemm"
  %all-reduce-start.1 = f32[2,4]{1,0} all-reduce-start(%gemm.1), to_apply=%fused
  %while.1 = (s32[], /*index=1*/f32[2,4]{1,0}) while(%all-reduce-start.1), condition=%body, body=%body
  ROOT %copy.3 = f32[2,4]{1,0} copy(%while.1)
}
"""  # noqa: E501


def test_a_fusion_is_of_the_kind_of_what_is_inside() -> None:
    program = read_program(HLO)
    assert program.name == "jit_step"
    kinds = {name: operation.kind for name, operation in program.operations.items()}
    assert kinds["fusion.1"] == kinds["gemm.1"] == "matrix product"
    assert kinds["all-reduce-start.1"] == "matrix product", "with the function that it is given here"
    assert kinds["copy.1"] == "copy, transpose"
    assert kinds["add.1"] == "elementwise"
    assert kinds["while.1"] == "loop control"
    assert [name for name, operation in program.operations.items() if operation.encloses] == ["while.1"]


def test_where_operations_come_from() -> None:
    """A fusion from the product in it, what XLA added from what reads it, or else from what it reads."""
    operations = read_program(HLO).operations
    dense = "jit(step)/jvp(Net)/Dense_0/dot"
    assert {operations[name].op_name for name in ("copy.1", "copy.2", "b", "fusion.1", "copy.3")} == {dense}
    assert operations["add.1"].op_name == "jit(step)/optimizer/while/body/add"


@pytest.mark.parametrize(
    ("opcodes", "op_name", "kind"),
    [
        ({"convolution", "reduce", "add"}, "", "convolution"),
        ({"fusion", "reduce", "add"}, "", "reduction"),
        ({"fusion", "transpose", "bitcast"}, "", "copy, transpose"),
        ({"all-reduce", "add"}, "", "communication"),
        ({"fusion", "xor"}, "jit(f)/jit(_threefry_fold_in)/xor", "random numbers"),
        ({"tanh"}, "jit(f)/tanh", "elementwise"),
    ],
)
def test_kinds(opcodes, op_name, kind) -> None:
    assert operation_kind(frozenset(opcodes), op_name) == kind


@pytest.mark.parametrize(
    ("op_name", "module", "backward"),
    [
        ("jit(_fun)/jvp(UNet)/UNet._blocks/Block_0/Conv_1/conv_general_dilated", "UNet/Block_0", False),
        ("jit(_fun)/transpose(jvp(UNet))/Block_2/jit(silu)/mul", "UNet/Block_2", True),
        ("jit(_fun)/while/body/closed_call/jvp(UNet)/Conv_1/add", "UNet/Conv_1", False),
        ("jit(_fun)/transpose(jvp(DiT))/checkpoint/rematted_computation/DiTBlock_0/mul", "DiT/DiTBlock_0", True),
        ("jit(_fun)/jvp(vmap(jit(_normal)))/jit(_uniform)/or", LOSS, False),
        ("jit(_fun)/optimizer/mul", "optimizer", False),
        ("jit(_fun)/convert_element_type", REST, False),
        ("", REST, False),
    ],
)
def test_the_source_of_an_operation(op_name, module, backward) -> None:
    assert operation_source(op_name) == (module, backward)


def test_every_moment_is_divided_among_what_runs_then() -> None:
    """A loop of 10 s with two operations that overlap, and one after it; 2 s in which nothing runs."""
    s = 1e9
    spans = [
        Span(0, 10 * s, "while", encloses=True),
        Span(1 * s, 5 * s, "a"),
        Span(3 * s, 7 * s, "b"),
        Span(12 * s, 13 * s, "a"),
    ]
    assert divide_time(spans) == pytest.approx({"while": 4, "a": 2 + 1 + 1, "b": 1 + 2})
    assert divide_time([]) == {}


class Net(nn.Module):
    """Two layers."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.Dense(300)(nn.tanh(nn.Dense(300)(x)))


def test_a_trace_is_read_back(tmp_path: Path) -> None:
    """Every operation is one of the program, and most of the work is in the two layers."""
    net = Net()
    x = jnp.ones((300, 300))
    params = net.init(jax.random.key(0), x)
    step = jax.jit(jax.grad(lambda params: jnp.sum(jnp.asarray(net.apply(params, x))) ** 2))
    compiled = step.lower(params).compile()
    jax.block_until_ready(step(params))
    with jax.profiler.trace(tmp_path):
        for _ in range(3):
            jax.block_until_ready(step(params))
        jax.block_until_ready(jnp.sin(x))
    program = read_program(compiled.as_text() or "")
    seconds = operation_times(newest_trace(tmp_path), program, traced_s=60.0)
    assert sum(seconds.values()) == pytest.approx(60)
    assert seconds[WAITING] > 0
    names = seconds.keys() - {WAITING, OTHER_PROGRAMS}
    assert OTHER_PROGRAMS in seconds
    assert names <= program.operations.keys()
    assert {program.operations[name].kind for name in names} >= {"matrix product"}
    modules = {operation_source(program.operations[name].op_name) for name in names}
    assert {("Net/Dense_0", False), ("Net/Dense_0", True), ("Net/Dense_1", False), ("Net/Dense_1", True)} <= modules
