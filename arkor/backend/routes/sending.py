"""Objects of the storage as answers: whole, or the part that ``Range`` names."""

from __future__ import annotations

from flask import Response, request, send_file
from werkzeug.wsgi import wrap_file

from arkor.backend.storage.interface import Storage
from arkor.errors import ObjectMissing


def send_object(
    storage: Storage, key: str, *, mimetype: str, download_name: str | None = None, etag: str | None = None
) -> Response | None:
    """Return the answer that sends an object; None if there is none.

    Args:
        storage: has the object.
        key: of the object.
        mimetype: of the object.
        download_name: what a browser calls the file; None shows it.
        etag: names the object's bytes; None if nothing does, and the time of a file has to.

    Raises:
        StorageError: the storage cannot be used.
    """
    path = storage.path(key)
    if path is not None:
        if not path.is_file():
            return None
        return send_file(
            path.resolve(),
            mimetype=mimetype,
            as_attachment=download_name is not None,
            download_name=download_name,
            conditional=True,
            etag=etag or True,
        )
    size = storage.size(key)
    if size is None:
        return None
    try:
        opened = storage.open(key)
    except ObjectMissing:
        return None
    response = Response(wrap_file(request.environ, opened), mimetype=mimetype, direct_passthrough=True)
    response.content_length = size
    if download_name is not None:
        response.headers.set("Content-Disposition", "attachment", filename=download_name)
    if etag is not None:
        response.set_etag(etag)
    response.make_conditional(request.environ, accept_ranges=True, complete_length=size)
    return response
