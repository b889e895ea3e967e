"""`attune bench learning`: our learning core beside its peers, on the same work and machine.

`learning` is the whole of it; `work` writes what both sides read, `side` is what runs in each
measured process, `pairing` takes turns between two of them, and `environments` keeps the peers'.
Nothing here is used by the product.
"""
