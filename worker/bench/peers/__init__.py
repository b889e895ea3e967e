"""Programs that give the fixed work to a peer, through its public interface alone.

They run in the peer's own virtual environment and import nothing of ours but `worker.bench.work`
and `worker.bench.side`, which need only torch.
"""
