"""Programs that run the fixed work with a peer, through its public interface alone.

They run in the peer's own virtual environment and import from `worker.bench` only modules that need
nothing but torch: `workload`, `measured_side`, `case_files`, `known_preferences` and
`known_reward`.
"""
