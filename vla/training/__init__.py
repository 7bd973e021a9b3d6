"""Training: fine-tuning of large policies with few trained weights."""
