"""Nearly all time of the tests goes into compiling: XLA optimizes little, and does not fuse by its slower emitters."""

from importlib.metadata import version

FLAGS = "--xla_backend_optimization_level=0"
if version("jaxlib").startswith("0.10."):  # newer ones have one emitter, and end at once on a flag that they lack
    FLAGS += " --xla_cpu_use_fusion_emitters=false"
