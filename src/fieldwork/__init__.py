"""fieldwork: role-by-role research on AI adoption, from a survey delivery to findings that say how sure they are.

The package is laid out as the study is: `intake`, `clean`, `validate`, `weight`, `constructs`, `disclosure`, `claims`,
`findings`, `site`; ARCHITECTURE.md tells who reads whom. Importing `fieldwork` loads nothing heavy.
"""

__version__ = "0.1.0"
