"""The summary that fronts are read from: triggers on latencies and subnets keep it, in every process that writes.

``fronts`` holds, for each device, task and base, the subnets that no other one of the three beats (on
PostgreSQL, where two writers do not see each other, now and then one more). A front over bases, or under
a largest latency or least accuracy, is found among them. When a subnet that was on a front gets slower or
less accurate, what it hid is not known here: the pair of device and task is then noted in
``stale_fronts``, and its front is walked through the latency rows until ``nuwa_search.store.fronts`` mends it.
"""

from sqlalchemy import Column, Double, Index, Table

from nuwa_search.store.columns import BigInt, StoreTable

# Plain tables: triggers write the rows, and nothing points at them.
fronts = Table(
    "nuwa_fronts",
    StoreTable.metadata,
    Column("device_pk", BigInt, nullable=False),
    Column("task_pk", BigInt, nullable=False),
    Column("base_pk", BigInt, nullable=False),
    Column("latency_ms", Double, nullable=False),
    Column("top1", Double, nullable=False),
    Column("subnet_pk", BigInt, nullable=False),
    Index("ix_nuwa_fronts_order", "device_pk", "task_pk", "base_pk", "latency_ms", "top1", "subnet_pk"),
    Index("ix_nuwa_fronts_subnet_pk", "subnet_pk"),
)
stale_fronts = Table(
    "nuwa_stale_fronts",
    StoreTable.metadata,
    Column("device_pk", BigInt, nullable=False),
    Column("task_pk", BigInt, nullable=False),
    Index("ix_nuwa_stale_fronts_order", "device_pk", "task_pk"),
)
