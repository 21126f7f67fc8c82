"""Small instruments as text, for tests of constructs: who answered, in which role, and what a test adds."""

ALLOWED = ["gradient", "gradient_prep", "forest_conf", "forest_prep", "dumbbell", "spread"]
"""Figures that estimates of `prep` and `conf` alone allow, in the order of the book."""

FIVE = """
[scales.five]
points = [
    { code = 1, label = "1" }, { code = 2, label = "2" }, { code = 3, label = "3" }, { code = 4, label = "4" },
    { code = 5, label = "5" },
]
"""
IDENTIFIERS = """
[items.resp_id]
kind = "identifier"
label = "Respondent"

[items.org_id]
kind = "identifier"
label = "Organisation"

[items.wave]
kind = "identifier"
label = "Wave"

[items.role]
kind = "single"
label = "Role"
options = ["roles"]
"""


def small(**roles: str) -> str:
    """Return an instrument with those roles (id = label), coded from 1, the scale `five` and no question yet."""
    head = (
        '[instrument]\nid = "small"\nversion = "1"\ntitle = "Small"\n\n[keys]\norganisation = "org_id"\nrole = "role"\n'
    )
    listed = [
        f'\n[[roles]]\ncode = {code}\nid = "{name}"\nlabel = "{label}"\n'
        for code, (name, label) in enumerate(roles.items(), start=1)
    ]
    return "".join([head, *listed, FIVE, IDENTIFIERS])


def ordinal(name: str, label: str, *constructs: str, more: str = "") -> str:
    """Return a question on the scale `five`, tagged with its constructs; `more`: further lines of it."""
    tags = ", ".join(f'"{each}"' for each in constructs)
    return f'\n[items.{name}]\nkind = "ordinal"\nscale = "five"\nlabel = "{label}"\n{more}constructs = [{tags}]\n'
