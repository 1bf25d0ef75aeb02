"""Outputs of a verdict: each module turns one into text; several can be written in one run."""
