"""An authority and what it signs, as PEM files in a folder."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NOW = datetime.now(timezone.utc)


class Authority:
    """Signs certificates; `ca_file` is what others trust."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)
        self._ca = trustme.CA()
        self.ca_file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(self.ca_file)

    def issue(self, name: str, *hosts: str, days: float = 365) -> tuple[Path, Path]:
        """Sign a certificate that ends after so many days, negative ones ago; returns its file and the key's."""
        end = NOW + timedelta(days=days)
        leaf = self._ca.issue_cert(
            *(hosts or (name,)), common_name=name, not_before=end - timedelta(days=400), not_after=end
        )
        certificate, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        leaf.cert_chain_pems[0].write_to_path(certificate)
        leaf.private_key_pem.write_to_path(key)
        return certificate, key


def ended_authority(file: Path) -> Path:
    """Write an authority's own certificate that ended yesterday."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "old")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=400))
        .not_valid_after(NOW - timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return file


def with_passphrase(key: Path) -> Path:
    """Write a copy of a key that asks for a passphrase."""
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    locked = key.with_suffix(".locked")
    locked.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    return locked
