"""Validity of the statistical core by simulation: what its intervals cover, how often its tests call what is not there."""
