"""Files of shards: reading them with every mistake found before anything is written, and bringing the store to them."""
