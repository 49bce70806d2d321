"""The closed lists of names that a policy file may use. A leaf, so that readers of either side can share it."""

# Schemes of `from`, each with the form that an error shows.
SOURCES: dict[str, str] = {
    "env": "env:GITHUB_TOKEN",
    "file": "file:/run/secrets/github-token",
}

PROVIDERS: tuple[str, ...] = ("anthropic", "openai", "github")

# The warnings of `outgate check` that `accept` can name, by the entry that they are about.
FILE_WARNINGS: tuple[str, ...] = ("observe_mode",)
RULE_WARNINGS: tuple[str, ...] = (
    "user_content_host",
    "drop_host",
    "write_against_why",
    "credential_any_path",
    "rule_shadowed",
    "rule_denied",
    "rule_expired",
    "rule_expiring",
    "wide_addresses",
    "metadata_address",
)
CREDENTIAL_WARNINGS: tuple[str, ...] = ("credential_unused_host", "placeholder_unused")
