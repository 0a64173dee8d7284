"""Closed-form derivation: any arch inside a base becomes a real subnet without training."""
