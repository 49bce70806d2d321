"""Certificates that are signed by the world's CA and must not verify all the same, and one that must. By host."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

_DAYS = timedelta(days=5)


class Chains:
    """A root of its own, which is added to the file of those that are trusted."""

    def __init__(self, folder: Path, trusted: Path) -> None:
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        root = _sign("a root", self._key, "a root", self._key, _ca())
        with trusted.open("ab") as file:
            file.write(_pem(root))

    def leaf(self, host: str) -> Path | None:
        """A PEM file with key and chain for a host of `scenery.py`; None for one that is not special."""
        name, usage, limits = host, ExtendedKeyUsageOID.SERVER_AUTH, None
        if host == "name-nul.example":
            name = f"{host}\0.elsewhere.example"
        elif host == "client-cert.example":
            usage = ExtendedKeyUsageOID.CLIENT_AUTH
        elif host == "constrained.example":
            limits = x509.NameConstraints([x509.DNSName("elsewhere.example")], None)
        elif host != "chained.example":
            return None
        between, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        middle = _sign("a CA between", between, "a root", self._key, [*_ca(), *([(limits, True)] if limits else [])])
        leaf = _sign(host, key, "a CA between", between, _of_a_server(name, usage))
        form = serialization.PrivateFormat.PKCS8
        secret = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        file = self._folder / f"{host}.pem"
        file.write_bytes(secret + _pem(leaf) + _pem(middle))
        return file


type _Extensions = list[tuple[x509.ExtensionType, bool]]


def _ca() -> _Extensions:
    usage = dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
    )
    may_sign = x509.KeyUsage(**usage, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False)
    return [(x509.BasicConstraints(ca=True, path_length=None), True), (may_sign, True)]


def _of_a_server(name: str, usage: ObjectIdentifier) -> _Extensions:
    return [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.SubjectAlternativeName([x509.DNSName(name)]), False),
        (x509.ExtendedKeyUsage([usage]), False),
    ]


def _sign(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    signer: ec.EllipticCurvePrivateKey,
    extensions: _Extensions,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - _DAYS)
        .not_valid_after(datetime.now(UTC) + _DAYS)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(signer, hashes.SHA256())


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
