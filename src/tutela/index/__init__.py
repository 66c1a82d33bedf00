"""Exact Hamming search: snapshots shared between processes, live updates, a cost model.

`tutela.index.live` follows a store, `tutela.index.snapshot` is one immutable file of it,
`tutela.index.plan` says what a search will cost. numba is loaded at the first search or build.
"""
