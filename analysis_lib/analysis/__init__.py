"""Pure analysis: tensors in, tensors or numbers out; no files, no device choice, no global state."""
