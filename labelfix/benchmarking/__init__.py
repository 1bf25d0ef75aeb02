"""Benchmark: every method on equal evidence, measured against a truth that none of them sees."""
