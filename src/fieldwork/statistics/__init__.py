"""Functions of arrays that return frozen results: replicates, spread, proportions, multiplicity. No knowledge of Quaie."""
