"""Verifying the audit chains, exporting them, and checking what they tell against the rules.

Everything here works on values and knows neither database nor file; the drivers are `postgres/auditing` and the command
line.
"""
