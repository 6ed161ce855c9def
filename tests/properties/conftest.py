"""How many examples a property is tried with, and which: by default few and always the same, so that no run flakes.

`pytest tests/properties --hypothesis-profile=thorough --timeout=1800` looks for new ones.
"""

from hypothesis import Phase, settings

settings.register_profile(
    "repeatable",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=80,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)
settings.register_profile("thorough", deadline=None, max_examples=800)
settings.load_profile("repeatable")
