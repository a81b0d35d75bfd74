"""What travels between a client and a backend, and its names on the wire. Protocol: docs/protocol.md."""
