"""What holds for every test: Hypothesis judges properties, never speed, and prints what repeats a failure.

Its deadline for one example is off, because a busy machine would fail good code; the suite's own time limit is tests/run's.
"""

from hypothesis import HealthCheck, settings

settings.register_profile("house", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")
