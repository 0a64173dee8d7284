"""Cases that once gave a wrong answer without a word: built by code, run on an old commit and on this tree."""
