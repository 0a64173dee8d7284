"""How subnets can be sorted; the command line offers these names without loading SQLAlchemy."""

SORTS = ("top1", "latency", "macs", "params", "newest")
