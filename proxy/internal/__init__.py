"""http://outgate.internal/: what Outgate itself tells the sandbox that asks. Nothing of it is ever dialled."""
