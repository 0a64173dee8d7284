"""Searches at real size, by stage and by what they end with: this build whole, an old one whole or by its units."""
