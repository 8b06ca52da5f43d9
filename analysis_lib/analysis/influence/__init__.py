"""Influence of fine-tuning examples on other samples: gradients, the kernel, the head's first step, attribution."""
