"""What the published samplers of DiT, SiT and EDM draw in 20 steps: their own loops, with nets and noise of seeds.

torchdiffeq, which integrates the ODE of SiT, is replaced by its two methods on a fixed grid.
"""

import ast
import importlib.util
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from tests.published.originals import dit, edm, golden
from tests.published.seeded import seeded_input

STEPS, BATCH = 20, 2
SIDE, DEPTH = 8, 1  # of DiT and SiT
STOPS = (5, 10, 15, 20)  # steps after which states are kept
LABELS = (1, 2)
CLASSES = 10
SCALE = 4.0  # of guidance
END = 0.04  # SiT's time that is left to the last step of its SDE, and where the default SDE can begin
CHURN = {"S_churn": 40, "S_min": 0.05, "S_max": 50, "S_noise": 1.003}
ODE_METHODS = ("euler", "heun2")  # of torchdiffeq
# The diffusion of the SDE, its first time and its last step, by case.
SDES = {"sampler_sit_sigma": ("sigma", 0.0, "Mean"), "sampler_sit_sbdm": ("SBDM", END, "Euler")}
Velocity = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def make(originals: Path) -> None:
    """DiT with guidance of all channels and of three, SiT's ODE and SDE, and EDM with churn."""
    for channels in (3, 4):
        save_dit(originals / "DiT", channels)
    for method in ODE_METHODS:
        save_ode(originals / "SiT", method)
    for case in SDES:
        save_sde(originals / "SiT", case)
    save_edm(originals / "edm")


def save_dit(folder: Path, channels: int) -> None:
    """Its guidance is of the first three channels, which are all of a net of three."""
    net = build(folder, "DiT", channels)
    recipe = golden.fill(net, kept=["pos_embed"])
    diffusion = load_package(folder / "diffusion").create_diffusion(str(STEPS))
    draws = noises(channels)
    start = next(draws)
    settings = {"y": torch.tensor([*LABELS, CLASSES, CLASSES]), "cfg_scale": SCALE}
    both = start.repeat(2, 1, 1, 1)
    loop = diffusion.p_sample_loop_progressive(
        net.forward_with_cfg, both.shape, both, clip_denoised=False, model_kwargs=settings, device=start.device
    )
    with patch.object(torch, "randn_like", lambda x: next(draws).repeat(2, 1, 1, 1)):
        states = [state["sample"][:BATCH] for state in loop]
    save(f"sampler_dit_{channels}", recipe, states, file="DiT.pt", chain=diffusion.timestep_map, scale=SCALE)


def save_ode(folder: Path, method: str) -> None:
    """The integral from 0 to 1 of SiT's time. Its last state by heun2 is left to a step of euler, as diffjax has it."""
    net = build(folder, "SiT", 4)
    recipe = golden.fill(net, kept=["pos_embed"])
    draw = sampler(folder).sample_ode(sampling_method=method, num_steps=STEPS + 1)
    labels = torch.tensor(LABELS)
    with torch.no_grad():
        states = list(draw(next(noises(4)), net, y=labels))[1:]
        theirs = states[-1]
        time = torch.full((BATCH,), 1 - 1 / STEPS)
        states[-1] = states[-2] + net(states[-2], time, labels) / STEPS
    save(f"sampler_sit_{method}", recipe, states, end=golden.channels_last(theirs), file="SiT.pt")


def save_sde(folder: Path, case: str) -> None:
    """The Euler-Maruyama method from the first time to 1 - END, and the last step to 1."""
    form, first, last = SDES[case]
    net = build(folder, "SiT", 4)
    recipe = golden.fill(net, kept=["pos_embed"])
    settings = {"diffusion_form": form, "last_step": last, "last_step_size": END}
    solver = sampler(folder, first)
    draws = noises(4)
    start = next(draws)
    with torch.no_grad(), patch.object(torch, "randn", lambda shape: next(draws)):
        states = solver.sample_sde(**settings, num_steps=STEPS)(start, net, y=torch.tensor(LABELS))
    save(case, recipe, states, file="SiT.pt", times=[*np.linspace(first, 1 - END, STEPS), 1.0])


def save_edm(folder: Path) -> None:
    """Only the last state is returned; the others are seen where each step draws noise of the shape of its state."""
    form, width, sizes = edm.CASES["ddpmpp_128"]
    torch.manual_seed(0)
    settings = edm.config(form, width, sizes)
    net = edm.load(folder / "training" / "networks.py").EDMPrecond(**settings)
    kept = [key for key in net.state_dict() if key.endswith((".freqs", ".resample_filter"))]
    recipe = golden.fill(net, kept)
    draws = noises(settings["img_channels"], settings["img_resolution"])
    start = next(draws)
    states: list[torch.Tensor] = []

    def randn_like(x: torch.Tensor) -> torch.Tensor:
        states.append(x)
        return next(draws)

    one_hot = torch.eye(settings["label_dim"])[list(LABELS)]
    with torch.no_grad():
        last = load_function(folder / "generate.py", "edm_sampler")(
            net, start, one_hot, randn_like=randn_like, num_steps=STEPS, **CHURN
        )
    about = {"file": "edm.pkl", "kind": "EDMPrecond", "config": settings, "churn": CHURN}
    save("sampler_edm", recipe, [*states[1:], last], **about)


def build(folder: Path, family: str, channels: int) -> torch.nn.Module:
    settings = {"input_size": SIDE, "patch_size": 2, "in_channels": channels, "hidden_size": 64, "depth": DEPTH}
    torch.manual_seed(0)
    return vars(dit.load(folder / "models.py"))[family](**settings, num_heads=1, num_classes=CLASSES)


def noises(channels: int, side: int = SIDE) -> Iterator[torch.Tensor]:
    """The initial state and the noise of each step, which the test makes from the seed too."""
    draws = seeded_input((1 + STEPS, BATCH, channels, side, side))
    return iter(torch.from_numpy(draws))


def sampler(folder: Path, first: float = 0.0) -> Any:
    """SiT's sampler of its default model. `first` is where the SDE begins whose diffusion is infinite at 0."""
    torchdiffeq = ModuleType("torchdiffeq")
    torchdiffeq.odeint = odeint
    sys.modules["torchdiffeq"] = torchdiffeq
    package = load_package(folder / "transport")
    transport = package.create_transport()
    transport.sample_eps = first
    return package.Sampler(transport)


def odeint(velocity: Velocity, x: torch.Tensor, times: torch.Tensor, *, method: str, **_: Any) -> torch.Tensor:
    """The states at all times, by Euler's method or the trapezoidal rule with Euler's step for its far end."""
    states = [x]
    for t, s in pairwise(times):
        slope = velocity(t, x)
        if method == "heun2":
            slope = (slope + velocity(s, x + (s - t) * slope)) / 2
        x = x + (s - t) * slope
        states.append(x)
    return torch.stack(states)


def load_package(folder: Path) -> ModuleType:
    """A package of an original, under a name that no other has."""
    name = f"original_{folder.parent.name}_{folder.name}"
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def load_function(path: Path, name: str) -> Callable[..., torch.Tensor]:
    """One function of a script, whose other imports are not needed."""
    tree = ast.parse(path.read_text())
    body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    scope: dict[str, Any] = {"torch": torch, "np": np}
    exec(compile(ast.Module(body, []), str(path), "exec"), scope)
    return scope[name]


def save(case: str, recipe: dict[str, Any], states: list[torch.Tensor], **settings: Any) -> None:
    """The states [stops, b, h, w, c] after some steps."""
    arrays = {name: value for name, value in settings.items() if isinstance(value, np.ndarray)}
    about = {name: value for name, value in settings.items() if name not in arrays}
    about |= {"stops": STOPS, "labels": LABELS}
    kept = np.stack([golden.channels_last(states[stop - 1]) for stop in STOPS])
    golden.save(case, recipe, about, states=kept, **arrays)
