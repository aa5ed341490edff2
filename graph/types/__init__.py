"""What the API answers with.

The classes here only declare fields. They are never instantiated: resolvers return the store's own records (and the
few values of `connections.py`), whose attributes carry the same names, so that a field costs one attribute access.
`describes` ties a class to its record where GraphQL has to tell members of a union apart; tests/contract holds every
declared field to an attribute of its record.
"""
