"""What `outgate init` does: look at a project and at its user's clients, and write a policy of what was found."""
