"""Training: fine-tuning a subnet with distillation, and training a base, on one engine."""
