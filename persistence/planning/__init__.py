"""Planning: from a snapshot of the mesh to the moves that bring every shard to the owner its strategy names. Pure."""
