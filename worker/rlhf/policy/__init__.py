"""Policy training: PPO, RLOO, DPO and best-of-n, with rollouts and stopping rules."""
