"""gamma, the constant added to absent logits: its trade-off curve, its estimators, and other post-hoc corrections."""
