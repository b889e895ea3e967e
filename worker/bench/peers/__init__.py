"""Programs that give the fixed work to a peer, through its public interface alone.

They run in the peer's own virtual environment and import nothing of ours but `worker.bench.work`,
`worker.bench.side` and `worker.bench.known`, which need only torch.
"""
