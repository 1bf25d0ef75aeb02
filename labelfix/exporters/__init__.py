"""Exporters: a queue of suspicious rows in the format of an annotation tool, and that tool's answers back."""
