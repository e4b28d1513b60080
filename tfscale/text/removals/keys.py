"""Finds keys and tokens of services by the detectors of Yelp's detect-secrets."""

import importlib
import re
from collections.abc import Iterator

from tfscale.errors import check_installed
from tfscale.registry import register
from tfscale.text.removal import Removal, Span

_DETECTORS = {
    "aws": "AWSKeyDetector",
    "azure_storage_key": "AzureStorageKeyDetector",
    "discord": "DiscordBotTokenDetector",
    "github_token": "GitHubTokenDetector",
    "gitlab_token": "GitLabTokenDetector",
    "mailchimp": "MailchimpDetector",
    "pypi_token": "PypiTokenDetector",
    "sendgrid": "SendGridDetector",
    "slack": "SlackDetector",
    "square_oauth": "SquareOAuthDetector",
    "stripe": "StripeDetector",
    "telegram_token": "TelegramBotTokenDetector",
    "twilio": "TwilioKeyDetector",
}
# The detector of private keys finds their first line alone, and that of OpenAI's keys takes a time
# that grows with the square of the text.
_PRIVATE_KEY = re.compile(
    r"-----BEGIN ([A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?)-----"
    r"(?:(?!-----).){0,40000}-----END \1-----",
    re.DOTALL,
)
_OPENAI = re.compile(r"(?<![\w-])sk-[\w-]{0,200}[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20}")
# Newer forms, which it does not know, as gitleaks has them (https://github.com/gitleaks/gitleaks).
_NEWER = (
    re.compile(r"(?<![\w-])sk-(?:proj|svcacct|admin)-[\w-]{58,74}T3BlbkFJ[\w-]{58,74}", re.ASCII),
    re.compile(r"(?<![\w-])sk-ant-(?:api|admin)\d\d-[\w-]{93}AA(?![\w-])", re.ASCII),
    re.compile(r"(?<!\w)github_pat_\w{82}(?!\w)", re.ASCII),
    re.compile(r"(?<!\w)AIza[\w-]{35}(?![\w-])", re.ASCII),
    re.compile(r"(?<!\w)hf_[A-Za-z]{34}(?!\w)", re.ASCII),
)


@register
class Keys(Removal):
    """Keys and tokens that their service gives a form of its own, and private keys (PEM).

    Of detect-secrets those detectors are used whose patterns are of one service and take a time
    that grows with the text and not with its square. Its guesses by entropy and by the names of
    variables find prose, too, and are left out; so are passwords in addresses and JSON web tokens.
    Nothing is asked of the services.

    Raises:
        ConfigError: detect-secrets is not installed.
    """

    name = "keys"
    summary = "keys and tokens of services (AWS, GitHub, Slack, ...), private keys"
    placeholder = "<key>"

    def __init__(self) -> None:
        check_installed("corpora", "detect_secrets")
        self._patterns = [
            pattern
            for module, name in _DETECTORS.items()
            for pattern in getattr(
                importlib.import_module(f"detect_secrets.plugins.{module}"), name
            ).denylist
        ]

    def find(self, text: str) -> Iterator[Span]:
        for pattern in [*self._patterns, _OPENAI, *_NEWER, _PRIVATE_KEY]:
            for match in pattern.finditer(text):
                yield match.span()
