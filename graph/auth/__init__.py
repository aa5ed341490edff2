"""Who is asking, and what they may do: bearer tokens, their keys, and the scope that each entry point needs.

`keys.py` reads keys, `key_file.py` keeps them up to date, `tokens.py` turns a token into a Principal, `requirements.py`
holds an operation against its scopes, `expiry.py` waits for a token's end. `configured.py` puts them together from the
settings. docs/authorisation.md.
"""
