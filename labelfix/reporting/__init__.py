"""Findings in, words out: terminal, Markdown and JSON; and progress bars."""
