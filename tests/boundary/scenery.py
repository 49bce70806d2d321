"""Names, addresses and keys of the world around the proxy. Data only.

The addresses are public ones in the eyes of any proxy, and lead nowhere outside the network namespace of the suite.
"""

# Answers hold for A and AAAA, by the form of the address. A list of lists is one answer after the other.
PUBLIC = {
    "good.example": "11.0.0.10",
    "plain.example": "11.0.0.11",
    "paths.example": "11.0.0.12",
    "other.example": "11.0.0.13",
    "h2.example": "11.0.0.14",
    "free.example": "11.0.0.15",
    "sub.wild.example": "11.0.0.16",
    "tunnel.example": "11.0.0.18",
    "h2up.example": "11.0.0.19",
    "wrong-name.example": "11.0.0.20",
    "expired.example": "11.0.0.21",
    "self-signed.example": "11.0.0.22",
    "plain-text.example": "11.0.0.23",
    "chained.example": "11.0.0.24",
    "name-nul.example": "11.0.0.25",
    "constrained.example": "11.0.0.26",
    "client-cert.example": "11.0.0.27",
    "denies.example": "11.0.0.28",
}
# Whatever else is asked for is the attacker's, and leads there.
ATTACKER = "11.0.0.66"
REBIND_FIRST = "11.0.0.17"
VETTED: dict[str, list[list[str]]] = {
    "loopback.vet.example": [["127.0.0.1"]],
    "loopback-other.vet.example": [["127.9.9.9"]],
    "loopback6.vet.example": [["::1"]],
    "unspecified.vet.example": [["0.0.0.0"]],
    "unspecified6.vet.example": [["::"]],
    "zero.vet.example": [["0.1.2.3"]],
    "ten.vet.example": [["10.0.0.1"]],
    "one-seven-two.vet.example": [["172.16.0.1"]],
    "one-nine-two.vet.example": [["192.168.0.1"]],
    "metadata.vet.example": [["169.254.169.254"]],
    "metadata6.vet.example": [["fd00:ec2::254"]],
    "azure.vet.example": [["168.63.129.16"]],
    "cgnat.vet.example": [["100.64.0.1"]],
    "alibaba.vet.example": [["100.100.100.200"]],
    "benchmark.vet.example": [["198.18.0.1"]],
    "ietf.vet.example": [["192.0.0.9"]],
    "documentation.vet.example": [["192.0.2.1"]],
    "reserved.vet.example": [["240.0.0.1"]],
    "unique-local.vet.example": [["fd00::1"]],
    "link-local6.vet.example": [["fe80::1"]],
    "site-local6.vet.example": [["fec0::1"]],
    "mapped.vet.example": [["::ffff:127.0.0.1"]],
    "compatible.vet.example": [["::127.0.0.1"]],
    "nat64.vet.example": [["64:ff9b::7f00:1"]],
    "nat64-local.vet.example": [["64:ff9b:1::7f00:1"]],
    "six-to-four.vet.example": [["2002:7f00:1::1"]],
    "teredo.vet.example": [["2001:0:7f00:1::1"]],
    "documentation6.vet.example": [["3fff::1"]],
    "mixed.vet.example": [["11.0.0.17", "10.0.0.1"]],
    "mixed6.vet.example": [["11.0.0.17", "::1"]],
    "127.0.0.1.vet.example": [["127.0.0.1"]],
    "rebind.vet.example": [[REBIND_FIRST], ["127.0.0.1"]],
    "rebind-metadata.vet.example": [[REBIND_FIRST], ["169.254.169.254"]],
    "rebind-tunnel.vet.example": [[REBIND_FIRST], ["127.0.0.1"]],
}
SILENT = "silent.vet.example"  # no answer ever
NOWHERE = "nowhere.vet.example"  # no such name

# `/`, `+`, `=` and the like: each encoding of the canary is another text.
CANARY = "canary/+Zx9~k8J7h6G5f4D3s2A1="
OTHER_CANARY = "canary/+other~Qw8e7R6t5Y4u3I="
SECRETS = {"good.example": CANARY, "h2.example": CANARY, "h2up.example": CANARY, "other.example": OTHER_CANARY}
OWN = "a-key-of-somebody-else-0123456789"

RESOLVER = "11.0.0.53"
SEARCH = "search.example"  # the search list of the proxy's host: names below it are the attacker's
SHARED = "10.200.0.1:8899"  # where a proxy listens that several sandboxes share
OPEN_PORTS = (22, 25, 53, 80, 443, 853, 3128, 5353, 5432, 6379, 8080, 8443, 9418)


def address_of(host: str) -> str:
    """Where requests for the host arrive, if they arrive."""
    first = VETTED.get(host, [[PUBLIC.get(host, ATTACKER)]])
    return first[0][0]
