"""What the public functions expect of their arguments, and the errors that say so."""
