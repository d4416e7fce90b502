"""A network whose answers a test writes down, and which remembers every request that was let out."""

from collections.abc import Callable

from opanel_agent.core.errors import AgentError, Unavailable
from opanel_agent.core.reasons import Reason
from opanel_agent.core.request import Headers, Reply, Sealed, head
from opanel_agent.system.http import Limits

Scripted = Reply | AgentError | Callable[[Sealed], Reply]


class FakeNetwork:
    """A Transport. Of several answers to one request each is given once, and the last for ever."""

    def __init__(self) -> None:
        self.sent: list[Sealed] = []
        self._script: dict[tuple[str, str], list[Scripted]] = {}

    def on(self, method: str, url: str, *answers: Scripted) -> None:
        """Replace what `method url` is answered with."""
        self._script[method, url] = list(answers)

    def serve(self, url: str, body: bytes, content_type: str) -> None:
        """A static file."""
        self.on("GET", url, ok(body, content_type))

    def send(self, sealed: Sealed, limits: Limits) -> Reply:
        self.sent.append(sealed)
        answers = self._script.get((sealed.method, sealed.url))
        if not answers:
            raise Unavailable(Reason.UNREACHABLE_TCP, "connect_failed")
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, AgentError):
            raise answer
        reply = answer(sealed) if callable(answer) else answer
        if len(reply.body) > limits.max_bytes:
            raise Unavailable(Reason.SERVER_ERROR, "reply_too_long", max_bytes=limits.max_bytes)
        return _told(reply, sealed)


def ok(body: bytes, content_type: str, *, status: int = 200, headers: Headers = ()) -> Reply:
    return Reply(ok=True, status=status, headers=(("Content-Type", content_type), *headers), body=body)


def _told(reply: Reply, sealed: Sealed) -> Reply:
    """As the real transport fills it in."""
    return Reply(
        ok=reply.ok,
        code=reply.code,
        detail=reply.detail,
        retry_after_s=reply.retry_after_s,
        status=reply.status,
        url=sealed.url,
        headers=reply.headers,
        sent_head=head(sealed),
        body=reply.body,
    )
