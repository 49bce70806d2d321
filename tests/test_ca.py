"""The CA and its leaves: files, races, damage, and verifiers that are strict."""

import hashlib
import ipaddress
import socket
import ssl
import stat
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store

from proxy import ca
from proxy.clients import TRUSTSTORE_PASSWORD
from proxy.errors import ConfigError
from proxy.policy.host import Host, parse_host
from proxy.state import StateDir, open_state

ROOT = Path(__file__).parents[1]
LONG = ".".join(["a" * 60, "b" * 60, "c" * 60, "example.com"])


def race(code: str, root: Path) -> set[str]:
    """What processes print that all run `code` on the folder at the same moment."""
    start = f"import sys; from pathlib import Path; {code.partition(';')[0]}; from proxy.state import StateDir"
    run = f"print('up', flush=True); sys.stdin.readline(); print({code.partition(';')[2]})"
    command = [sys.executable, "-c", f"{start}; {run}", str(root)]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) for _ in range(6)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return {process.communicate(timeout=60)[0].strip() for process in processes}


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return open_state(tmp_path / "state")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def extension[T: x509.ExtensionType](certificate: x509.Certificate, kind: type[T]) -> tuple[T, bool]:
    found = certificate.extensions.get_extension_for_class(kind)
    return found.value, found.critical


# --- the CA ---


def test_the_ca_certificate_says_what_it_may_do() -> None:
    authority = ca.create()
    certificate = authority.certificate
    assert extension(certificate, x509.BasicConstraints) == (x509.BasicConstraints(ca=True, path_length=0), True)
    usage, critical = extension(certificate, x509.KeyUsage)
    assert critical
    assert (usage.key_cert_sign, usage.crl_sign, usage.digital_signature, usage.key_encipherment) == (
        True,
        True,
        False,
        False,
    )
    identifier, _ = extension(certificate, x509.SubjectKeyIdentifier)
    assert authority.subject == f"CN=Outgate CA {identifier.digest.hex()[:8]}"
    assert isinstance(authority.key.curve, ec.SECP256R1)
    now = datetime.now(UTC)
    assert timedelta(hours=23) < now - certificate.not_valid_before_utc < timedelta(hours=25)
    assert timedelta(days=2 * 365) < certificate.not_valid_after_utc - now < timedelta(days=5 * 365)


def test_two_cas_share_nothing() -> None:
    one, two = ca.create(), ca.create()
    assert one.certificate.serial_number != two.certificate.serial_number
    assert one.subject != two.subject


def test_a_ca_is_made_once_with_the_right_modes(state: StateDir) -> None:
    authority = ca.load_or_create(state)
    assert ca.load_or_create(state).fingerprint == authority.fingerprint == ca.load(state).fingerprint
    assert mode(state.ca_key) == 0o600
    assert mode(state.ca_cert) == 0o644
    assert state.ca_key.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
    assert state.ca_cert.read_bytes() == authority.pem
    assert sorted(path.name for path in state.root.iterdir()) == [
        *("ca-bundle.pem", "ca-key.pem", "ca.pem", "keys.lock", "truststore.p12")
    ]


def test_the_fingerprint_is_that_of_the_der_certificate() -> None:
    authority = ca.create()
    der = authority.certificate.public_bytes(serialization.Encoding.DER)
    assert authority.fingerprint.replace(":", "").lower() == hashlib.sha256(der).hexdigest()


def test_the_key_is_not_in_the_repr() -> None:
    assert "key" not in repr(ca.create()).lower()


def test_processes_that_start_at_once_end_with_one_ca(state: StateDir) -> None:
    found = race("from proxy import ca; ca.load_or_create(StateDir(Path(sys.argv[1]))).fingerprint", state.root)
    assert found == {ca.load(state).fingerprint}


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, password: bytes = b"") -> bytes:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def _damage(state: StateDir, what: str) -> None:
    authority = ca.load(state)
    past = datetime.now(UTC) - 2 * ca.CA_LIFETIME
    old, future = ca.create(past), ca.create(datetime.now(UTC) + timedelta(days=30))
    leaf = ca.LeafIssuer(authority)
    replacements: dict[str, tuple[Path, bytes]] = {
        "garbage certificate": (state.ca_cert, b"\x00rubbish"),
        "empty certificate": (state.ca_cert, b""),
        "truncated certificate": (state.ca_cert, authority.pem[:200]),
        "two certificates": (state.ca_cert, authority.pem * 2),
        "garbage key": (state.ca_key, b"rubbish"),
        "empty key": (state.ca_key, b""),
        "encrypted key": (state.ca_key, _pem(authority.key, b"word")),
        "other key": (state.ca_key, _pem(ec.generate_private_key(ec.SECP256R1()))),
        "other curve": (state.ca_key, _pem(ec.generate_private_key(ec.SECP384R1()))),
        "rsa key": (state.ca_key, _pem(rsa.generate_private_key(65537, 2048))),
        "expired": (state.ca_cert, old.pem),
        "future": (state.ca_cert, future.pem),
        "leaf": (state.ca_cert, leaf.issue(Host("a.example")).public_bytes(serialization.Encoding.PEM)),
    }
    path, content = replacements[what]
    path.write_bytes(content)
    keys = {"expired": old.key, "future": future.key, "leaf": leaf.key}
    if what in keys:
        state.ca_key.write_bytes(_pem(keys[what]))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("garbage certificate", "no PEM certificate, or a damaged one"),
        ("empty certificate", "no PEM certificate, or a damaged one"),
        ("truncated certificate", "no PEM certificate, or a damaged one"),
        ("two certificates", "more than one certificate"),
        ("garbage key", "damaged or encrypted"),
        ("empty key", "damaged or encrypted"),
        ("encrypted key", "damaged or encrypted"),
        ("other key", "do not belong together"),
        ("other curve", "not an ECDSA P-256 key"),
        ("rsa key", "not an ECDSA P-256 key"),
        ("expired", r"the CA expired on \d{4}-\d\d-\d\d"),
        ("future", "not valid yet"),
        ("leaf", "not that of a CA"),
    ],
)
def test_a_wrong_ca_is_an_error_and_is_never_replaced(state: StateDir, what: str, message: str) -> None:
    ca.load_or_create(state)
    _damage(state, what)
    before = state.ca_cert.read_bytes(), state.ca_key.read_bytes()
    for attempt in (ca.load, ca.load_or_create):
        with pytest.raises(ConfigError, match=message) as error:
            attempt(state)
        assert error.value.problems[0].hint
        assert error.value.problems[0].where.startswith(str(state.root))
    assert (state.ca_cert.read_bytes(), state.ca_key.read_bytes()) == before


@pytest.mark.parametrize("name", ["ca.pem", "ca-key.pem"])
def test_half_a_ca_is_an_error(state: StateDir, name: str) -> None:
    ca.load_or_create(state)
    (state.root / name).unlink()
    with pytest.raises(ConfigError, match="half of the CA is missing"):
        ca.load_or_create(state)
    assert not (state.root / name).exists()


def test_a_key_that_others_can_read_is_an_error(state: StateDir) -> None:
    ca.load_or_create(state)
    state.ca_key.chmod(0o640)
    with pytest.raises(ConfigError, match="others can read the key"):
        ca.load_or_create(state)


def test_loading_makes_nothing(state: StateDir) -> None:
    with pytest.raises(ConfigError, match="there is no CA yet"):
        ca.load(state)
    assert list(state.root.iterdir()) == []


def test_rotating_keeps_the_old_files_with_a_date(state: StateDir) -> None:
    old = ca.load_or_create(state)
    new, kept = ca.rotate(state, datetime(2026, 11, 20, 10, 15, tzinfo=UTC))
    assert new.fingerprint == ca.load(state).fingerprint != old.fingerprint
    assert [path.name for path in kept] == ["ca-20261120T101500.000000Z.pem", "ca-key-20261120T101500.000000Z.pem"]
    assert kept[0].read_bytes() == old.pem
    assert mode(kept[1]) == mode(state.ca_key) == 0o600
    assert new.pem in state.ca_bundle.read_bytes()
    assert old.pem not in state.ca_bundle.read_bytes()


@pytest.mark.parametrize("what", ["garbage certificate", "expired", "rsa key"])
def test_rotating_mends_a_wrong_ca(state: StateDir, what: str) -> None:
    ca.load_or_create(state)
    _damage(state, what)
    ca.rotate(state)
    assert ca.load(state).subject.startswith("CN=Outgate CA ")


def test_the_bundle_holds_the_public_roots_and_the_ca(state: StateDir) -> None:
    authority = ca.load_or_create(state)
    roots = ca.read_certificates(Path(certifi.where()))
    assert ca.read_certificates(state.ca_bundle) == [*roots, authority.certificate]
    assert mode(state.ca_bundle) == 0o644


def test_java_trusts_what_the_bundle_holds(state: StateDir) -> None:
    authority = ca.load_or_create(state)
    store = pkcs12.load_pkcs12(state.truststore.read_bytes(), TRUSTSTORE_PASSWORD.encode())
    held = {entry.certificate for entry in store.additional_certs}
    assert held == set(ca.read_certificates(state.ca_bundle))
    assert authority.certificate in held
    assert mode(state.truststore) == 0o644


def test_a_trust_store_follows_the_ca(state: StateDir) -> None:
    ca.load_or_create(state)
    state.truststore.unlink()
    ca.load_or_create(state)
    first = state.truststore.read_bytes()
    rotated, _ = ca.rotate(state)
    store = pkcs12.load_pkcs12(state.truststore.read_bytes(), TRUSTSTORE_PASSWORD.encode())
    assert state.truststore.read_bytes() != first
    assert rotated.certificate in {entry.certificate for entry in store.additional_certs}


def test_a_stale_bundle_is_written_anew_and_a_good_one_is_left(state: StateDir) -> None:
    ca.load_or_create(state)
    good, written = state.ca_bundle.read_bytes(), state.ca_bundle.stat().st_ino
    ca.load_or_create(state)
    assert state.ca_bundle.stat().st_ino == written
    state.ca_bundle.write_bytes(b"old")
    ca.load_or_create(state)
    assert state.ca_bundle.read_bytes() == good


def test_upstream_certificates_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the certificates: no such file"):
        ca.read_certificates(tmp_path / "none.pem")
    der = tmp_path / "der.crt"
    der.write_bytes(ca.create().certificate.public_bytes(serialization.Encoding.DER))
    with pytest.raises(ConfigError, match="holds no PEM certificate") as error:
        ca.read_certificates(der)
    assert "openssl x509 -inform der" in error.value.problems[0].hint


# --- leaves ---


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("api.example.com", x509.DNSName("api.example.com")),
        ("xn--bcher-kva.example", x509.DNSName("xn--bcher-kva.example")),
        ("a_b.example.com", x509.DNSName("a_b.example.com")),
        (LONG, x509.DNSName(LONG)),
        ("127.0.0.1", x509.IPAddress(ipaddress.ip_address("127.0.0.1"))),
        ("[2001:db8::1]", x509.IPAddress(ipaddress.ip_address("2001:db8::1"))),
    ],
)
def test_a_leaf_says_what_it_is_for(text: str, name: x509.GeneralName) -> None:
    authority = ca.create()
    issuer = ca.LeafIssuer(authority)
    leaf = issuer.issue(parse_host(text))
    assert list(leaf.subject) == []
    assert extension(leaf, x509.SubjectAlternativeName) == (x509.SubjectAlternativeName([name]), True)
    assert extension(leaf, x509.ExtendedKeyUsage)[0] == x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    assert extension(leaf, x509.BasicConstraints) == (x509.BasicConstraints(ca=False, path_length=None), True)
    usage, _ = extension(leaf, x509.KeyUsage)
    assert (usage.digital_signature, usage.key_cert_sign, usage.crl_sign) == (True, False, False)
    identifier, _ = extension(authority.certificate, x509.SubjectKeyIdentifier)
    assert extension(leaf, x509.AuthorityKeyIdentifier)[0].key_identifier == identifier.digest
    leaf.verify_directly_issued_by(authority.certificate)


def test_the_leaf_key_is_not_the_ca_key_and_lives_in_one_issuer() -> None:
    authority = ca.create()
    one, two = ca.LeafIssuer(authority), ca.LeafIssuer(authority)
    numbers = {key.private_numbers().private_value for key in (authority.key, one.key, two.key)}
    assert len(numbers) == 3
    leaf = one.issue(Host("a.example"))
    assert leaf.public_key() == one.key.public_key()
    assert leaf.serial_number != one.issue(Host("a.example")).serial_number


def test_a_leaf_is_short_lived_and_never_outlives_its_ca() -> None:
    now = datetime.now(UTC)
    leaf = ca.LeafIssuer(ca.create()).issue(Host("a.example"), now)
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == ca.LEAF_LIFETIME
    assert leaf.not_valid_before_utc < now < leaf.not_valid_after_utc
    ending = ca.create(now - ca.CA_LIFETIME + timedelta(days=2))
    last = ca.LeafIssuer(ending).issue(Host("a.example"), now)
    assert last.not_valid_after_utc == ending.certificate.not_valid_after_utc


def test_a_leaf_of_a_brand_new_ca_does_not_start_before_it() -> None:
    authority = ca.create()
    leaf = ca.LeafIssuer(authority).issue(Host("a.example"), datetime.now(UTC) - timedelta(minutes=5))
    assert leaf.not_valid_before_utc >= authority.certificate.not_valid_before_utc


def test_the_verifier_of_cryptography_accepts_a_leaf() -> None:
    authority = ca.create()
    for text, subject in (
        ("api.example.com", x509.DNSName("api.example.com")),
        ("127.0.0.1", x509.IPAddress(ipaddress.ip_address("127.0.0.1"))),
    ):
        verifier = PolicyBuilder().store(Store([authority.certificate])).build_server_verifier(subject)
        assert len(verifier.verify(ca.LeafIssuer(authority).issue(parse_host(text)), [])) == 2


@pytest.mark.parametrize("text", ["api.example.com", LONG, "127.0.0.1"])
def test_openssl_accepts_a_leaf_strictly(tmp_path: Path, text: str) -> None:
    authority = ca.create()
    host = parse_host(text)
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    leaf = ca.LeafIssuer(authority).issue(host).public_bytes(serialization.Encoding.PEM)
    (tmp_path / "leaf.pem").write_bytes(leaf)
    check = ["-verify_hostname", host.name] if host.address is None else ["-verify_ip", host.name]
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", *check, "-CAfile", "ca.pem", "leaf.pem"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.stdout == "leaf.pem: OK\n", result.stderr


def _serve_once(listener: socket.socket, context: ssl.SSLContext) -> None:
    connection, _ = listener.accept()
    with connection, context.wrap_socket(connection, server_side=True) as wrapped:
        wrapped.sendall(b"hello")


@pytest.mark.parametrize("text", ["api.example.com", LONG, "127.0.0.1", "[::1]"])
def test_python_accepts_a_handshake_strictly(tmp_path: Path, text: str) -> None:
    authority, host = ca.create(), parse_host(text)
    issuer = ca.LeafIssuer(authority)
    chain = tmp_path / "chain.pem"
    chain.write_bytes(issuer.issue(host).public_bytes(serialization.Encoding.PEM) + _pem(issuer.key))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain)
    client = ssl.create_default_context(cadata=authority.pem.decode())
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    client.verify_flags &= ~ssl.VERIFY_X509_PARTIAL_CHAIN
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve_once, args=(listener, server))
        thread.start()
        with (
            socket.create_connection(listener.getsockname(), timeout=20) as raw,
            client.wrap_socket(raw, server_hostname=host.name) as wrapped,
        ):
            assert wrapped.recv(5) == b"hello"
        thread.join()
