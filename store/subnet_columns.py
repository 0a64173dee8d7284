"""What a row of an answer about subnets holds, in the order of tables; it is known without SQLAlchemy."""

from nuwa_search.store.found_rows import SubnetFound

COLUMNS = tuple(SubnetFound.__annotations__)
