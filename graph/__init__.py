"""What the shard ownership store is used through: the GraphQL server, the command line, and a client for Python."""
