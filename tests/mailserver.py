"""A mail server in a thread of the test, which keeps what it gets."""

import socketserver
import ssl
import threading
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, cast


@dataclass(frozen=True)
class Mail:
    """What came in one DATA."""

    recipients: list[str]
    raw: bytes
    is_encrypted: bool
    login: str | None

    @property
    def message(self) -> EmailMessage:
        return cast(EmailMessage, message_from_bytes(self.raw, policy=policy.default))

    @property
    def text(self) -> str:
        return self.message.get_content()


class MailServer:
    """SMTP, with STARTTLS and a login where `trust` is given. `refusals` are said to the next recipients."""

    def __init__(self, trust: ssl.SSLContext | None = None) -> None:
        self.mails: list[Mail] = []
        self.refusals: list[str] = []
        self.trust = trust
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.port = self._server.server_address[1]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[socketserver.BaseRequestHandler]:
        mailserver = self

        class Handler(socketserver.StreamRequestHandler):
            recipients: list[str]
            login: str | None = None
            is_encrypted = False

            def handle(self) -> None:
                self.recipients = []
                self.say("220 test")
                while line := self.rfile.readline():
                    verb, _, rest = line.decode().strip().partition(" ")
                    getattr(self, f"do_{verb.lower()}", self.do_other)(rest)

            def say(self, text: str) -> None:
                self.wfile.write(f"{text}\r\n".encode())

            def do_ehlo(self, _: str) -> None:
                more = ["STARTTLS"] if mailserver.trust and not self.is_encrypted else []
                words = ["test", *more, *(["AUTH PLAIN"] if self.is_encrypted else [])]
                for at, word in enumerate(words):
                    self.say(f"250{' ' if at == len(words) - 1 else '-'}{word}")

            def do_starttls(self, _: str) -> None:
                assert mailserver.trust is not None
                self.say("220 go")
                self.connection = mailserver.trust.wrap_socket(self.connection, server_side=True)
                self.rfile, self.wfile = (
                    cast(Any, self.connection.makefile("rb")),
                    cast(Any, Unbuffered(self.connection)),
                )
                self.is_encrypted = True

            def do_auth(self, rest: str) -> None:
                self.login = rest
                self.say("235 in")

            def do_rcpt(self, rest: str) -> None:
                if mailserver.refusals:
                    return self.say(mailserver.refusals.pop(0))
                self.recipients.append(rest.partition("<")[2].partition(">")[0])
                self.say("250 ok")

            def do_data(self, _: str) -> None:
                self.say("354 go")
                lines = iter(self.rfile.readline, b".\r\n")
                raw = b"".join(line[1:] if line.startswith(b".") else line for line in lines)
                mailserver.mails.append(Mail(self.recipients, raw, self.is_encrypted, self.login))
                self.say("250 kept")

            def do_quit(self, _: str) -> None:
                self.say("221 bye")

            def do_other(self, _: str) -> None:
                self.say("250 ok")

        return Handler


class Unbuffered:
    """What a handler writes to."""

    def __init__(self, connection: Any):
        self.write = connection.sendall

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """The connection is closed by who accepted it."""

    closed = False
