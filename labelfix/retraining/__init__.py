"""Retraining: what a scan's corrected labels are worth, as classifiers that are kept."""
