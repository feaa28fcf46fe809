"""Settings of the whole suite."""

from hypothesis import settings

# The same examples in every run, as all seeds are fixed; and no time limit on one, which a busy machine would break.
settings.register_profile("dropstats", derandomize=True, deadline=None)
settings.load_profile("dropstats")
