"""From the station file to the broker: address, login and TLS, with every secret looked up."""

from __future__ import annotations

from edge_agent.mqtt import BrokerAddress
from edge_agent.station import MqttPart, resolve_file, resolve_secret
from edge_agent.tls import TlsFiles


def resolve_broker(mqtt: MqttPart) -> BrokerAddress:
    """Return how to reach the broker.

    Raises:
        ConfigError: A secret has no value, or a TLS file cannot be used.
    """
    host, port = mqtt.address
    files = TlsFiles(resolve_file(mqtt.tls.ca_file), resolve_file(mqtt.tls.cert_file), resolve_file(mqtt.tls.key_file))
    if mqtt.has_tls:
        files.context()
    return BrokerAddress(
        host,
        port,
        mqtt.username,
        resolve_secret(mqtt.password),
        tls=files if mqtt.has_tls else None,
        keepalive_s=mqtt.keepalive_s,
        protocol=mqtt.protocol,
    )
