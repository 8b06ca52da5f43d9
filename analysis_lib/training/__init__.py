"""Training: the one loop, its resume file, optimisers, augmentation, and the hooks of a fine-tuning method.

Imports core, benchmarks and models only.
"""
