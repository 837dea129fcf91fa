"""Training: one state, one pure step, all devices, checkpoints that are whole or not taken."""
