"""Pure analysis: functions from tensors to numbers, tensors and tidy tables. No files, no devices, no training.

It imports only `core.errors` and `core.class_split`.
"""
