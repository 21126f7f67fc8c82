"""The engine: which chapters are out of date, running them, and keeping what they made.

`spec` reads the graph of chapters, `notebook` a chapter's parameters, `fingerprint` says what a chapter's result
depends on, `store` keeps results by content, `plan` judges what is current, `worker` runs one chapter and `caller` one
function after another, `crew` and `cluster` have the machines that do, `runner` runs the graph, `progress` tells the
reader. The engine knows chapters only as notebooks with inputs, outputs and parameters, and nothing of surveys. Importing
it, and a run with nothing to do, loads the standard library alone.
"""
