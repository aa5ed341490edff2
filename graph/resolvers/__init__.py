"""The entry points of the schema: each reads its arguments, calls one thing of the store, and hands on its records.

They are annotated with the store's records; `schema.py` says which GraphQL type each is shown as.
"""
