"""The experiments: one file each, whose `get_config()` returns a `diffjax.experiment.config.Config`."""
