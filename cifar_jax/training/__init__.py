"""Training: plans, steps, the loop, optimizers and checkpoints."""
