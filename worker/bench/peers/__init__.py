"""Programs that give the fixed work to a peer, through its public interface alone.

They run in the peer's own virtual environment and import nothing of ours but `worker.bench.workload`,
`worker.bench.measured_side` and `worker.bench.known_preferences`, which need only torch.
"""
