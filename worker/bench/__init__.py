"""`attune bench learning`: the learning core compared with its peers on the same work and machine.

`learning` runs all rows; `workload` defines the work that both sides read, `measured_side` runs in
each measured process, `pairing` alternates between the sides, and `environments` holds the peers'
virtual environments. `reward_acceptance` and `policy_acceptance` compare what is learned. The
product uses nothing of this package.
"""
