"""Nearly all time of the tests goes into compiling: XLA optimizes little, and does not fuse by its slower emitters."""

FLAGS = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
