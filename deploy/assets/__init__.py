"""Files that are copied into every bundle. They import nothing of this program and run on Python 3.6."""
