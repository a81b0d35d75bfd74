"""One backend over HTTP: connections, retries, aborting, frames of an event stream, errors."""
