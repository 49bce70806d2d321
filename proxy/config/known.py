"""The closed lists of names that a policy file may use. A leaf, so that readers of either side can share it."""

# Schemes of `from`, each with the form that an error shows.
SOURCES: dict[str, str] = {
    "env": "env:GITHUB_TOKEN",
    "file": "file:/run/secrets/github-token",
}

PROVIDERS: tuple[str, ...] = ("anthropic", "openai", "github")
