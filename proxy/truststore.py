"""The trust store for Java: the public roots and our CA as PKCS 12, which is what Java reads beside its own form."""

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from proxy.clients import TRUSTSTORE_PASSWORD


def truststore(certificates: list[x509.Certificate]) -> bytes:
    """A trust store with these certificates. Its bytes differ from call to call."""
    entries = [
        pkcs12.PKCS12Certificate(certificate, f"outgate-{index}".encode())
        for index, certificate in enumerate(certificates)
    ]
    encryption = serialization.BestAvailableEncryption(TRUSTSTORE_PASSWORD.encode())
    return pkcs12.serialize_java_truststore(entries, encryption)
