"""The LIBERO and LIBERO-PRO benchmarks: exact scenes, lean steps, images on demand."""
