"""PPO, RLOO, DPO and best-of-n; rollouts, stop rules and the best weights."""
