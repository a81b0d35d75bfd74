"""Opening a page for the user."""

from __future__ import annotations

import contextlib
import os
import threading
import webbrowser


def open_page(url: str) -> None:
    """Open a page in the user's browser, where there is one; its address is on the screen anyway."""
    # On a thread: one that BROWSER names may run until somebody closes it.
    threading.Thread(target=_open, args=(url,), name="browser", daemon=True).start()


def _open(url: str) -> None:
    with contextlib.suppress(webbrowser.Error, OSError):
        browser = webbrowser.get()
        # A browser for text would take the terminal, unless the user chose it.
        if "BROWSER" in os.environ or type(browser) is not webbrowser.GenericBrowser:
            browser.open(url)
