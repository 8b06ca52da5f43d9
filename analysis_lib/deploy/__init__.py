"""Users' own models: fine-tuned, gamma estimated and folded into the head, with a report and a page.

May import every room above it: core, analysis, benchmarks, models, training, methods and plots are used.
"""
