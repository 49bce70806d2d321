"""The CA that sandboxes trust: made once, loaded at each start, rotated on request; and the leaves it signs.

Keys are ECDSA P-256. The CA's key signs certificates only; handshakes use a leaf key that lives in one process.
Nothing here is ever replaced silently: a sandbox that trusts the old CA must learn of the new one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from warnings import catch_warnings, simplefilter

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from proxy import roots
from proxy.errors import ConfigError
from proxy.policy.host import Host
from proxy.state import PRIVATE, PUBLIC, StateDir, read_private, why, write_atomic, writing_keys
from proxy.truststore import truststore

# Long enough that images and machines which trust the CA need no yearly visit, short enough that a key which was
# copied, or a trust store that was forgotten, ends by itself.
CA_LIFETIME = timedelta(days=3 * 365)
LEAF_LIFETIME = timedelta(days=7)
"""From start to end of a leaf's validity. A worker that keeps leaves longer than a few days must issue anew."""

# A sandbox's clock may be behind: a virtual machine that was resumed, a container host without time service.
_BACKDATED = timedelta(days=1)
_ROTATE = (
    "restore ca.pem and ca-key.pem from a backup, or run `outgate ca rotate`; sandboxes must fetch the new CA then"
)


@dataclass(frozen=True, slots=True)
class CertificateAuthority:
    """A CA certificate and its private key, which belong together."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def subject(self) -> str:
        return self.certificate.subject.rfc4514_string()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the DER certificate, upper-case hex pairs with colons, as openssl prints it."""
        return self.certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def create(now: datetime | None = None) -> CertificateAuthority:
    """Make a CA in memory (RFC 5280 section 4.2.1: it signs leaves and revocation lists, no other CA)."""
    start = (now or datetime.now(UTC)) - _BACKDATED
    key = ec.generate_private_key(ec.SECP256R1())
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Outgate CA {identifier.digest.hex()[:8]}")])
    certificate = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    return CertificateAuthority(certificate, key)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def load_or_create(state: StateDir) -> CertificateAuthority:
    """The CA of a state folder, made on first use; its bundle file is made or brought up to date.

    Raises `ConfigError` if the files are damaged, do not belong together, have expired, or others can read the key.
    """
    with writing_keys(state):
        authority = _load(state) if _exists(state) else _create_in(state)
        refresh_bundle(state, authority)
    return authority


def load(state: StateDir) -> CertificateAuthority:
    """As `load_or_create`, but a missing CA is a `ConfigError` and nothing is written."""
    if not _exists(state):
        raise ConfigError("there is no CA yet", "run `outgate ca create` or `outgate serve`", str(state.ca_cert))
    return _load(state)


def rotate(state: StateDir, now: datetime | None = None) -> tuple[CertificateAuthority, tuple[Path, ...]]:
    """Make a new CA; the files of the old one, whatever their state, get a date in their names and are returned."""
    stamp = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%S.%fZ")
    kept: list[Path] = []
    with writing_keys(state):
        for path in (state.ca_cert, state.ca_key):
            if path.is_symlink() or path.exists():
                backup = path.with_name(f"{path.stem}-{stamp}{path.suffix}")
                try:
                    path.rename(backup)
                except OSError as error:
                    raise ConfigError(f"cannot keep the old CA: {why(error)}", "", str(path)) from None
                kept.append(backup)
        authority = _create_in(state)
        refresh_bundle(state, authority)
    return authority, tuple(kept)


def refresh_bundle(state: StateDir, authority: CertificateAuthority) -> None:
    """Write the public roots (certifi) and our CA into one file, and for Java into another, unless they are there."""
    if roots.are_current(state):  # not if one is missing or unreadable: writing it reports its own error
        return
    wanted = roots.bundle(authority.pem)
    with _old_roots():
        write_atomic(state.truststore, truststore(x509.load_pem_x509_certificates(wanted)), PUBLIC)
    # Last, because whether it is current tells whether the other one is.
    write_atomic(state.ca_bundle, wanted, PUBLIC)


def read_certificates(path: Path) -> list[x509.Certificate]:
    """The PEM certificates in a file, at least one. Raises `ConfigError`."""
    try:
        with _old_roots():
            return x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot read the certificates: {why(error)}", "name a PEM file", str(path)) from None
    except ValueError:
        hint = "PEM starts with -----BEGIN CERTIFICATE-----; openssl x509 -inform der -in OLD -out NEW converts DER"
        raise ConfigError("the file holds no PEM certificate, or a damaged one", hint, str(path)) from None


@contextmanager
def _old_roots() -> Iterator[None]:
    """Old public roots have serial numbers that RFC 5280 no longer allows; their reader has no part in that."""
    with catch_warnings():
        simplefilter("ignore", CryptographyDeprecationWarning)
        yield


def _exists(state: StateDir) -> bool:
    return any(path.is_symlink() or path.exists() for path in (state.ca_cert, state.ca_key))


def _create_in(state: StateDir) -> CertificateAuthority:
    authority = create()
    pem = authority.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_atomic(state.ca_key, pem, PRIVATE)
    write_atomic(state.ca_cert, authority.pem, PUBLIC)
    return authority


def _load(state: StateDir) -> CertificateAuthority:
    for path in (state.ca_key, state.ca_cert):
        if not path.exists():
            raise ConfigError("half of the CA is missing", _ROTATE, str(path))
    key = _load_key(state.ca_key)
    certificates = read_certificates(state.ca_cert)
    if len(certificates) != 1:
        raise ConfigError("the CA file holds more than one certificate", _ROTATE, str(state.ca_cert))
    certificate = certificates[0]
    if certificate.public_key() != key.public_key():
        raise ConfigError("the CA certificate and the CA key do not belong together", _ROTATE, str(state.ca_cert))
    try:
        signs = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except (x509.ExtensionNotFound, ValueError):
        signs = False
    if not signs:
        raise ConfigError("the certificate is not that of a CA", _ROTATE, str(state.ca_cert))
    now = datetime.now(UTC)
    if now >= certificate.not_valid_after_utc:
        ended = f"{certificate.not_valid_after_utc:%Y-%m-%d}"
        hint = "run `outgate ca rotate`; sandboxes must fetch the new CA then"
        raise ConfigError(f"the CA expired on {ended}", hint, str(state.ca_cert))
    if now < certificate.not_valid_before_utc:
        raise ConfigError("the CA is not valid yet", "set this machine's clock", str(state.ca_cert))
    return CertificateAuthority(certificate, key)


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    pem = read_private(path)
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):  # TypeError: the key is encrypted
        raise ConfigError("the CA key is damaged or encrypted", _ROTATE, str(path)) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigError("the CA key is not an ECDSA P-256 key", _ROTATE, str(path))
    return key


class LeafIssuer:
    """Signs certificates for hosts, all for one key that is made here and never leaves the process."""

    def __init__(self, authority: CertificateAuthority) -> None:
        self._authority = authority
        self.key = ec.generate_private_key(ec.SECP256R1())
        issuer = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        self._authority_id = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer)
        self._subject_id = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())

    def issue(self, host: Host, now: datetime | None = None) -> x509.Certificate:
        """A server certificate for one host, valid for `LEAF_LIFETIME` at most, never longer than the CA.

        The name stands in a critical subjectAltName and the subject is empty (RFC 5280 section 4.2.1.6): no client
        may look for it in the common name (RFC 9525), which would not hold more than 64 characters anyway.
        """
        authority = self._authority.certificate
        start = (now or datetime.now(UTC)) - _BACKDATED
        name = x509.DNSName(host.name) if host.address is None else x509.IPAddress(host.address)
        return (
            x509.CertificateBuilder(
                issuer_name=authority.subject, subject_name=x509.Name([]), public_key=self.key.public_key()
            )
            .serial_number(x509.random_serial_number())
            .not_valid_before(max(start, authority.not_valid_before_utc))
            .not_valid_after(min(start + LEAF_LIFETIME, authority.not_valid_after_utc))
            .add_extension(x509.SubjectAlternativeName([name]), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(self._subject_id, critical=False)
            .add_extension(self._authority_id, critical=False)
            .sign(self._authority.key, hashes.SHA256())
        )
