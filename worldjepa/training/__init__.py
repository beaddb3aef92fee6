"""What a training run is made of: optimiser, target update, ranks, health, checkpoints, logbook, loop."""
