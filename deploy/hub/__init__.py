"""Bundles and bases on the Hugging Face Hub: pushed with a model card, and pulled back as they were."""
