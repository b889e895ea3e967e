"""The machine-learning side of Attune: claims jobs, trains, samples, publishes checkpoints.

It never imports the web side; `worker.rlhf` is the learning core and imports nothing of ours but
itself.
"""
