"""Networks: creation, packaged and users' weights, weight interpolation, and gamma folded into the head.

Imports core and analysis only.
"""
