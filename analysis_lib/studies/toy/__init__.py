"""The toy example: four classes in the plane, a small network, and its measures. It needs no run folder and no images.

Imports core and analysis only.
"""
