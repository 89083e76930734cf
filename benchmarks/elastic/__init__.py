"""Whether fits that are killed and go on are those that were never stopped."""
