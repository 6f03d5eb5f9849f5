"""How cheaply is a good recipe found? See `benchmarks.search.__main__`."""
