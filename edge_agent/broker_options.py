"""From the command line to the broker: address, login and TLS."""

from __future__ import annotations

import argparse
import os

from edge_agent.mqtt import BrokerAddress
from edge_agent.tls import TlsFiles
from engines.errors import UsageError


def read_broker(arguments: argparse.Namespace) -> BrokerAddress:
    """Read address, login and TLS files from the command line.

    Raises:
        UsageError: The port is missing or no port, the variable is not set, or TLS options do not fit together.
        ConfigError: A TLS file cannot be used.
    """
    text, password_env = arguments.broker, arguments.password_env
    host, _, port = text.removeprefix("mqtts://").rpartition(":")
    if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UsageError(f"--broker {text!r} is not HOST:PORT.", fix="Write for example --broker 127.0.0.1:1883.")
    if password_env is not None and password_env not in os.environ:
        raise UsageError(f"the environment has no {password_env}.", fix=f"Run: export {password_env}=...")
    password = os.environ[password_env] if password_env else None
    return BrokerAddress(host.strip("[]"), int(port), arguments.username, password, tls=_read_tls(arguments))


def _read_tls(arguments: argparse.Namespace) -> TlsFiles | None:
    files = TlsFiles(arguments.tls_ca, arguments.tls_cert, arguments.tls_key)
    if not arguments.broker.startswith("mqtts://"):
        if files != TlsFiles():
            raise UsageError("--tls-ca, --tls-cert and --tls-key need TLS.", fix="Write --broker mqtts://HOST:PORT.")
        return None
    if (files.cert_file is None) != (files.key_file is None):
        raise UsageError("--tls-cert and --tls-key come together.", fix="Name the certificate and its key.")
    files.context()
    return files
