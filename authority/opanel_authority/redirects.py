"""Requests of urllib go where they were meant to go, or fail: what they carry is for one receiver."""

import urllib.request


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Makes every redirect the failure that its status is. For `urllib.request.build_opener`."""

    def redirect_request(self, *_arguments: object, **_named: object) -> None:
        """Returns no request to follow it with."""
        return
