"""Finds phone numbers by phonenumbers, the Python port of Google's libphonenumber."""

import re
from collections.abc import Iterator, Sequence

from tfscale.config.prepare import PrepareConfig
from tfscale.errors import ConfigError, check_installed
from tfscale.registry import register
from tfscale.text.removal import Removal, Span

_SEVEN_DIGITS = re.compile(r"\d(?:\D{0,4}\d){6}")
_PLUS = ("+", "＋")


@register
class Phones(Removal):
    """Phone numbers that libphonenumber finds valid and grouped as their country groups them.

    Args:
        regions: countries, such as "US", whose numbers are found in national form, too. Without any
            only numbers with + and a country code are found.

    Raises:
        ConfigError: a country is not known, or the library is not installed.
    """

    name = "phones"
    summary = "phone numbers, with + and a country code or in the form of --phone-regions"
    placeholder = "<phone>"

    def __init__(self, regions: Sequence[str] = ()):
        check_installed("corpora", "phonenumbers")
        import phonenumbers

        for region in regions:
            if region not in phonenumbers.SUPPORTED_REGIONS:
                near = region.upper()
                known = near in phonenumbers.SUPPORTED_REGIONS
                hint = f"did you mean {near!r}?" if known else "they are ISO 3166 codes: US, DE, JP"
                raise ConfigError(f"no phone region {region!r}; {hint}")
        self.regions = list(regions)

    @classmethod
    def of(cls, config: PrepareConfig) -> "Phones":
        return cls(config.phone_regions)

    def find(self, text: str) -> Iterator[Span]:
        import phonenumbers

        if not _SEVEN_DIGITS.search(text):
            return
        regions: list[str | None] = [*self.regions]
        if not regions and any(plus in text for plus in _PLUS):
            regions = [None]
        for region in regions:
            matcher = phonenumbers.PhoneNumberMatcher(
                text, region, leniency=phonenumbers.Leniency.STRICT_GROUPING
            )
            for match in matcher:
                yield match.start, match.end
