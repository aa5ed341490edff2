"""The GraphQL surface of the shard ownership store: schema, server, settings, command line."""
