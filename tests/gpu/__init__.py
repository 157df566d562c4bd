"""What only a CUDA GPU can show; skipped without one."""
