"""Training runs: planned from recipes, executed into run folders, and opened for reading as a RunSet.

Imports core, analysis, benchmarks, models, training and methods.
"""
