"""50 steps of ddim by diffusers: its U-Net, of about the parameters and operations of ours, and its pipeline's loop."""

import os

import torch
from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel
from protocol import Case, in_turns, serve
from torch.utils.flop_counter import FlopCounterMode

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def sampling(batch: int) -> Case:
    """1.06 M parameters and 122 MFLOP a picture of 16x16x3; ours has 1.10 M and 114."""
    sizes = (32, 64, 64)
    kinds = {"down_block_types": ("DownBlock2D",) * 3, "up_block_types": ("UpBlock2D",) * 3}
    net = UNet2DModel(16, 3, 3, block_out_channels=sizes, layers_per_block=1, norm_num_groups=8, **kinds)
    pipeline = DDIMPipeline(net.to(memory_format=torch.channels_last).eval(), DDIMScheduler(clip_sample=False))
    pipeline.set_progress_bar_config(disable=True)

    def call() -> None:
        pipeline(batch, num_inference_steps=50, output_type="np")

    with FlopCounterMode(display=False) as counter:
        call()
    return Case(in_turns(call), counter.get_total_flops())


CASES = {f"50 steps of ddim, 16x16x3, batch {batch}": lambda batch=batch: sampling(batch) for batch in (1, 16)}

if __name__ == "__main__":
    serve(CASES)
