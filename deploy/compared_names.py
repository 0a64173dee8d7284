"""Where a bundle that answers for pixels keeps test images with truth, base and winner side by side."""

COMPARED = "compared"
COMPARED_LIST = "compared.json"
