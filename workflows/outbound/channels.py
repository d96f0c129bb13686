"""The channels of alerts: where each may go, and how it is said there. What an alert says is worded in wording.py."""

import re
import smtplib
import ssl
from collections.abc import Mapping
from email.message import EmailMessage
from email.utils import formatdate
from typing import Any
from urllib.parse import unquote, urlsplit

from ..errors import Abort, NotDelivered, UsageError
from ..settings import Settings
from .address_guard import Guard
from .wording import Said

CHANNELS = ("webhook", "slack", "email")
MAILBOX = re.compile(r"[^\s@,<>\"]{1,100}@[^\s@,<>\"]{1,200}")
MAILBOXES_LIMIT = 20
MAIL_SECONDS = 15.0  # for each answer of the mail server
SLACK_LIMIT = 3000  # characters of one text
SCHEMES = {"smtps": 465, "smtp": 587, "smtp+plain": 25}  # TLS from the start, by STARTTLS, none; and their ports
SLACK_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def checked_address(settings: Settings, channel: str, address: str) -> None:
    """Raises AddressRefused, UsageError for one that nothing can be sent to."""
    if channel != "email":
        Guard.of(settings).place(address)
        return
    if len(address.split(",")) > MAILBOXES_LIMIT or not all(MAILBOX.fullmatch(each) for each in _mailboxes(address)):
        raise UsageError(f"address: give at most {MAILBOXES_LIMIT} mail addresses, with commas between")
    _server(settings)
    if not MAILBOX.fullmatch(settings.need("smtp_from")):
        raise UsageError("address: the setting celeriac_smtp_from is no mail address")


def shown_address(channel: str, address: str) -> str:
    """The address as everybody may see it: that of Slack lets in whoever knows it."""
    if channel != "slack":
        return address
    return f"{urlsplit(address).scheme}://{urlsplit(address).netloc.rpartition('@')[2]}/…"


def slack_body(said: Said) -> dict[str, Any]:
    """What an incoming webhook of Slack takes."""
    lines = [f"*{_slack(said.title)}*", *(f"{_slack(name)}: {_slack(text)}" for name, text in said.facts)]
    if said.link:
        lines.append(f"<{said.link}|{_slack(said.link_words)}>")
    text = "\n".join(lines)[:SLACK_LIMIT]
    return {"text": text, "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": text}}]}


def send_mail(settings: Settings, address: str, id: str, said: Said) -> dict[str, Any]:
    """One mail to all. `id` makes of those that are sent twice one, for whoever looks at Message-ID.

    Raises NotDelivered, also where only some of them are to be tried again: those who have it get it twice. Raises
    Abort where the server says that it never takes it for anyone.
    """
    mail = EmailMessage()
    mail["Subject"] = " ".join(said.title.split())[:200]
    mail["From"], mail["To"] = settings.smtp_from, ", ".join(_mailboxes(address))
    mail["Date"] = formatdate()
    mail["Message-ID"] = f"<{id}@{settings.smtp_from.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    facts = [f"{name}: {text}" for name, text in said.facts]
    mail.set_content("\n".join([said.title, "", *facts, *(["", said.link] if said.link else [])]) + "\n")
    try:
        with _connected(settings) as server:
            refused = server.send_message(mail)
    except smtplib.SMTPRecipientsRefused as error:
        refused = error.recipients
        if all(code >= 500 for code, _ in refused.values()):
            raise Abort(f"the mail server takes no mail for {address}: {_refusals(refused)}") from None
    except smtplib.SMTPResponseException as error:
        raise NotDelivered(f"the mail server: {error.smtp_code} {_words(error.smtp_error)}") from None
    except (smtplib.SMTPException, OSError) as error:
        raise NotDelivered(f"the mail server: {error or type(error).__name__}") from None
    if any(code < 500 for code, _ in refused.values()):
        raise NotDelivered(f"the mail server: {_refusals(refused)}")
    return {"refused": sorted(refused)}


def _refusals(refused: Mapping[str, tuple[int, bytes]]) -> str:
    return "; ".join(f"{code} {_words(text)}" for code, text in refused.values())


def _connected(settings: Settings) -> smtplib.SMTP:
    scheme, host, port, user, password = _server(settings)
    trust = ssl.create_default_context()
    if scheme == "smtps":
        server: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=MAIL_SECONDS, context=trust)
    else:
        server = smtplib.SMTP(host, port, timeout=MAIL_SECONDS)
    try:
        if scheme == "smtp":
            server.starttls(context=trust)
        if user:
            server.login(user, password)
    except BaseException:
        server.close()
        raise
    return server


def _server(settings: Settings) -> tuple[str, str, int, str, str]:
    """Scheme, host, port, user and password. Raises UsageError, which repeats none of them."""
    url = settings.need("smtp_url")
    try:
        parts = urlsplit(url)
        port = parts.port or SCHEMES[parts.scheme]
    except (ValueError, KeyError):
        raise UsageError(f"address: the setting celeriac_smtp_url is no URL of {', '.join(SCHEMES)}") from None
    if not parts.hostname:
        raise UsageError("address: the setting celeriac_smtp_url names no host")
    return parts.scheme, parts.hostname, port, unquote(parts.username or ""), unquote(parts.password or "")


def _mailboxes(address: str) -> list[str]:
    return [each.strip() for each in address.split(",")]


def _slack(text: str) -> str:
    return text.translate(SLACK_ESCAPES)


def _words(said: bytes | str) -> str:
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else said
