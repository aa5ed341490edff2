"""The durable shard ownership store: records, rules, ports, and the PostgreSQL store that implements them."""
