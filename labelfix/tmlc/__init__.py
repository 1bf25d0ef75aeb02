"""TMLC-Net after Li 2025 (arXiv 2502.07721): NNP → TSE → SD, made equivariant over classes.

perception (NNP) normalises what training said, encoder (TSE) reads it over epochs, decoder (SD) scores every
candidate class; net puts them together; calibrate sets the level on the target; sources and metatrain make the
weights.
"""
