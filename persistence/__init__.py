"""The durable shard ownership store: records, rules, ports, and the stores that implement them."""
