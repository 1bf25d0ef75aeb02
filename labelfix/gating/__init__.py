"""The gate's verdict: findings in, verdict out; nothing here imports torch."""
