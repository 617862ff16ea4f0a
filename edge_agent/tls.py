"""TLS towards the broker: whom we trust, and how we show who we are. Certificates and host names are always checked."""

from __future__ import annotations

import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from engines.errors import ConfigError

_RENEW_DAYS = 30
_DAY_S = 86_400


@dataclass(frozen=True)
class TlsFiles:
    """PEM files, read anew at every connection, so that renewed ones need no restart.

    `ca_file` None trusts the authorities of the system; `cert_file` and `key_file` are both given or both None.
    """

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Return what a connection needs; whether a certificate is valid today is for the handshake to find.

        Raises:
            ConfigError: A file cannot be read or holds something else, or the key belongs to another certificate.
        """
        for path in (self.ca_file, self.cert_file, self.key_file):
            if path is not None:
                _check_readable(path)
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except ssl.SSLError as problem:
            raise ConfigError(
                f"{self.ca_file} holds no certificate: {problem.reason}.",
                fix="Name the certificate of the authority that signed the broker's, in PEM.",
            ) from problem
        context.sslsocket_class = _ClosedSocket
        self._present_ourselves(context)
        return context

    def check(self) -> list[str]:
        """Return what a person should know soon: certificates that end within 30 days.

        Raises:
            ConfigError: As `context`, or a certificate is not valid today.
        """
        authorities = [str(one["notAfter"]) for one in self.context().get_ca_certs()] if self.ca_file else []
        ends = {self.ca_file: max(authorities, key=_days_left)} if authorities else {}
        if self.cert_file is not None:
            ends[self.cert_file] = self._own_end()
        for path, end in ends.items():
            if _days_left(end) <= 0:
                raise ConfigError(f"the certificate {path} ended on {end}.", fix="Renew it at the authority.")
        return [
            f"the certificate {path} ends on {end}; renew it before"
            for path, end in ends.items()
            if _days_left(end) < _RENEW_DAYS
        ]

    def _present_ourselves(self, context: ssl.SSLContext) -> None:
        if self.cert_file is None:
            return
        try:
            context.load_cert_chain(self.cert_file, self.key_file, password=self._refuse_passphrase)
        except ssl.SSLError as problem:
            if problem.reason == "KEY_VALUES_MISMATCH":
                raise ConfigError(
                    f"the key {self.key_file} does not belong to the certificate {self.cert_file}.",
                    fix="Name the key with which that certificate was requested.",
                ) from problem
            raise ConfigError(
                f"{self.cert_file} and {self.key_file} are no certificate and key: {problem.reason or problem}.",
                fix="Name two files in PEM that begin with -----BEGIN.",
            ) from problem

    def _refuse_passphrase(self) -> NoReturn:
        # OpenSSL would ask at the terminal, and wait.
        raise ConfigError(
            f"the key {self.key_file} needs a passphrase, and nobody is there to type it.",
            fix="Take it off with `openssl pkey -in KEY -out NEW`, and protect the file as a credential of the service.",
        )

    def _own_end(self) -> str:
        """Return until when our certificate is valid.

        Python reads only certificates that were shown in a handshake: so it is shown to ourselves, in memory.

        Raises:
            ConfigError: It is not valid today, or not meant for a client.
        """
        broker = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        broker.verify_mode = ssl.CERT_REQUIRED
        broker.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        broker.load_verify_locations(self.cert_file)
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # Only the broker's side of this handshake is of interest.
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
        for side in (broker, client):
            self._present_ourselves(side)
        to_broker, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        shown_to = broker.wrap_bio(to_broker, to_client, server_side=True)
        shown_by = client.wrap_bio(to_client, to_broker)
        try:
            for end in (shown_by, shown_to) * 3:
                with suppress(ssl.SSLWantReadError):
                    end.do_handshake()
        except ssl.SSLCertVerificationError as problem:
            raise ConfigError(
                f"the certificate {self.cert_file} would be refused: {problem.verify_message}.",
                fix="Renew it at the authority; if it is new, check the clock of this machine with `date`.",
            ) from problem
        return str((shown_to.getpeercert() or {})["notAfter"])


class _ClosedSocket(ssl.SSLSocket):
    """Paho leaves a socket open whose handshake has failed."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT002, as its base has it
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


def _check_readable(path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as problem:
        raise ConfigError(
            f"{path} cannot be read: {problem.strerror}.",
            fix="Check the path, and that the user who runs this may read it.",
        ) from problem


def _days_left(end: str) -> float:
    return (ssl.cert_time_to_seconds(end) - time.time()) / _DAY_S
