"""MAR of LTH14/mar: its nets, and a whole draw with the noise that it drew."""

import importlib
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from tests.published.originals import golden, timm_stub
from tests.published.seeded import seeded_input

Net = torch.nn.Module
CHANNELS, CLASSES, BUFFER, DEPTH = 4, 10, 8, 2
NETS = {64: (8, 64), 128: (4, 96), 256: (4, 64)}  # side, and width of the head, by width of the backbone
STEPS = (0.0, 250.0, 999.0)  # of the noisy tokens of each example
KNOWN = (0.0, 0.4, 0.95)  # share of the tokens
DRAWS = {  # settings of draws: steps of the chain, evaluations of the backbone, guidance, labels
    "mar_draw_guided": ("1,1,1,1,1,1,1,1", 8, 3.0, [2, 7]),
    "mar_draw_whole_chain": ("4", 5, 1.0, None),
}


def make(originals: Path) -> None:
    """The nets at three widths, and two draws."""
    model = load(originals / "mar")
    for width, (side, head_width) in NETS.items():
        net = build(model, width, side, head_width)
        save_outputs(f"mar_{width}", net, golden.fill(net), side)
    for case, (chain, *settings) in DRAWS.items():
        net = build(model, 64, 8, 64, num_sampling_steps=chain)
        save_draw(case, net, golden.fill(net), *settings)


def load(folder: Path) -> ModuleType:
    """Its module `models.mar`, whose packages have names that other originals have too."""
    timm_stub.install()
    stub_scipy()
    torch.Tensor.cuda = lambda tensor: tensor
    sys.path.insert(0, str(folder))
    module = importlib.import_module("models.mar")
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.split(".")[0] in ("models", "diffusion")]:
        del sys.modules[name]
    return module


def stub_scipy() -> None:
    """Make `scipy.stats` importable, of which training alone uses a distribution."""
    stats = ModuleType("scipy.stats")
    stats.truncnorm = lambda *_, **__: None
    sys.modules |= {"scipy": ModuleType("scipy"), "scipy.stats": stats}
    sys.modules["scipy"].stats = stats


def build(model: ModuleType, width: int, side: int, head_width: int, **settings: Any) -> Net:
    """With heads of 64 features, as all published ones but the largest have."""
    parts = {f"{part}_embed_dim": width for part in ("encoder", "decoder")}
    parts |= {f"{part}_num_heads": width // 64 for part in ("encoder", "decoder")}
    parts |= {f"{part}_depth": DEPTH for part in ("encoder", "decoder")}
    size = {"img_size": side, "vae_stride": 1, "vae_embed_dim": CHANNELS}
    head = {"diffloss_w": head_width, "diffloss_d": DEPTH}
    norm = partial(torch.nn.LayerNorm, eps=1e-6)
    return model.MAR(**parts, **size, **head, **settings, class_num=CLASSES, buffer_size=BUFFER, norm_layer=norm)


def save_outputs(case: str, net: Net, recipe: dict[str, Any], side: int) -> None:
    """The head's output with no token known; where some are, the contexts of every second token, and the output."""
    b, n = len(STEPS), side**2
    x = seeded_input((b, CHANNELS, side, side))
    tokens = net.patchify(torch.from_numpy(x))
    draw = np.random.default_rng(2)
    known = np.stack([draw.permutation(n) < round(share * n) for share in KNOWN])
    levels = draw.integers(1000, size=(b, n)).astype(np.float32)
    labels = np.arange(b) * 3
    vectors = net.class_emb(torch.from_numpy(labels))
    vectors[-1] = net.fake_latent[0]
    labels[-1] = CLASSES
    levels_of_none = np.tile(np.asarray(STEPS, np.float32)[:, None], n)
    with torch.no_grad():
        none_known = contexts(net, tokens, np.zeros_like(known), vectors)
        z = contexts(net, tokens, known, vectors)
        out = head(net, tokens, levels_of_none, none_known, side)
        partly_known = head(net, tokens, levels, z, side)
    arrays = {"known": known, "levels": levels, "z": z.numpy()[:, ::2], "partly_known": partly_known}
    golden.save(case, recipe, {"file": "mar.pth", "level": STEPS}, x=x, cond=labels, out=out, **arrays)


def contexts(net: Net, tokens: torch.Tensor, known: np.ndarray, vectors: torch.Tensor) -> torch.Tensor:
    """One example after the other, since the encoder's batches have as many known tokens in each."""
    hidden = torch.from_numpy(~known).float()
    parts = [(tokens[i : i + 1], hidden[i : i + 1], vectors[i : i + 1]) for i in range(len(tokens))]
    return torch.cat([net.forward_mae_decoder(net.forward_mae_encoder(*part), part[1]) for part in parts])


def head(net: Net, tokens: torch.Tensor, levels: np.ndarray, z: torch.Tensor, side: int) -> np.ndarray:
    """[b, h, w, 2c]."""
    flat = tokens.flatten(0, 1), torch.from_numpy(levels).flatten(), z.flatten(0, 1)
    return net.diffloss.net(*flat).reshape(len(tokens), side, side, -1).numpy()


def save_draw(
    case: str,
    net: Net,
    recipe: dict[str, Any],
    iterations: int,
    scale: float,
    labels: list[int] | None,
) -> None:
    """What `sample_tokens` draws: the order, the noise at each token, and the tokens.

    `ranks` [b, n] are the places in the order; `noise` [1 + steps of the chain, b, n, c] has the first noise first.
    """
    b, n = 2, net.seq_len
    hidden: list[torch.Tensor] = []  # at each iteration
    draws: list[torch.Tensor] = []
    generator = torch.Generator().manual_seed(0)

    def randn(*shape: Any) -> torch.Tensor:
        draws.append(torch.normal(torch.zeros(shape), 1.0, generator=generator))
        return draws[-1]

    def encode(tokens: torch.Tensor, mask: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        hidden.append(mask[:b].bool().clone())
        return type(net).forward_mae_encoder(net, tokens, mask, vectors)

    orders = np.stack([np.random.default_rng(i).permutation(n) for i in range(b)])
    net.sample_orders = lambda count: torch.from_numpy(orders)
    net.forward_mae_encoder = encode
    originals = torch.randn, torch.randn_like
    torch.randn, torch.randn_like = randn, lambda x: randn(*x.shape)
    with torch.no_grad():
        out = net.sample_tokens(b, iterations, scale, "linear", labels and torch.tensor(labels))
    torch.randn, torch.randn_like = originals
    chain = [int(step) for step in net.diffloss.gen_diffusion.timestep_map]
    noise = np.zeros((1 + len(chain), b, n, CHANNELS), np.float32)
    ends = [*hidden[1:], torch.zeros(b, n, dtype=torch.bool)]
    for i, (before, after) in enumerate(zip(hidden, ends, strict=True)):
        rows = (before & ~after).numpy()
        for k, draw in enumerate(draws[i * len(noise) : (i + 1) * len(noise)]):
            noise[k][rows] = draw[: rows.sum()].numpy()  # the second half is of guidance, and is not used
    about = {"file": "mar.pth", "chain": chain, "iterations": iterations, "scale": scale}
    about["known"] = [int(n - mask[0].sum()) for mask in hidden]
    arrays = {"alpha2": net.diffloss.train_diffusion.alphas_cumprod}
    arrays |= {} if labels is None else {"cond": np.asarray(labels)}
    ranks = n - 1 - np.argsort(orders, axis=1)  # the last of an order is drawn first
    golden.save(case, recipe, about, out=golden.channels_last(out), ranks=ranks, noise=noise, **arrays)
