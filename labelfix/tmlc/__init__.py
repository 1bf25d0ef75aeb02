"""TMLC-Net after Li 2025 (arXiv 2502.07721): NNP → TSE → SD, made equivariant over classes.

perception (NNP) normalises what training said, encoder (TSE) reads it over epochs, decoder (SD) scores every
candidate class; net puts them together. judgement adds what the target tells: blend joins readings and margin, level
says how many labels are wrong, transitions which classes are given for which, feedback what annotators answered.
sources, bank and metatrain make the weights.
"""
