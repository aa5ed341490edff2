"""What the API is asked: GraphQL inputs, and how each becomes a value of the store."""
