"""What a rebalance would do, as people read it: for plans, simulations and drains alike."""
