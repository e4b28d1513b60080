"""What is replaced, and prose in which nothing is."""

import pytest

from tfscale.errors import ConfigError
from tfscale.text.removals.emails import Emails
from tfscale.text.removals.keys import Keys
from tfscale.text.removals.phones import Phones


@pytest.mark.parametrize(
    "text, removed",
    [
        ("Write to jane.doe+x@mail.example.org.", "Write to <email>."),
        ("(a@b.co), me@x", "(<email>), me@x"),
        ("jürgen@müller.de, o'neil@example.com", "<email>, <email>"),
        ("a@b@c.com", "a@<email>"),
        ("请发邮件至zhang@example.com联系我们", "请发邮件至<email>联系我们"),
        ("请" * 70 + "zhang@example.com" + "我" * 30, "请" * 70 + "<email>" + "我" * 30),
        ("メールはa@b.co.jpまで、b@c.orgへ", "メールは<email>まで、<email>へ"),
        ("ติดต่อa@b.co.thได้, a@b.com으로", "ติดต่อ<email>ได้, <email>으로"),
        ("写给 用户@例子.广告 。", "写给 <email> 。"),
        ("[a@b.co_], a@b.co- (a@b.co--c)", "[<email>_], <email>- (<email>--c)"),
        ("...a@b.co .a@b.co", "...<email> .<email>"),
    ],
)
def test_email_addresses(text, removed):
    assert Emails()(text) == (removed, removed.count("<email>"))


@pytest.mark.parametrize(
    "text",
    [
        "root@localhost",
        "@app.route",
        "3@4.5",
        "a@b.c0m",
        "a@host.name-1",
        "see @handle and foo@",
        "..@..com",
        "me at home.org",
    ],
)
def test_no_email_addresses(text):
    assert Emails()(text) == (text, 0)


INTERNATIONAL = "Call +44 20 7946 0958 or +1 (650) 253-0000."
NATIONAL = "Call (650) 253-0000 or 650-253-0000; Tel. 030 901820, Berlin."


def test_phone_numbers():
    assert Phones()(INTERNATIONAL) == ("Call <phone> or <phone>.", 2)
    assert Phones(["US"])(INTERNATIONAL) == ("Call <phone> or <phone>.", 2)
    assert Phones()(NATIONAL) == (NATIONAL, 0)
    assert Phones(["US"])(NATIONAL) == ("Call <phone> or <phone>; Tel. 030 901820, Berlin.", 2)
    assert Phones(["US", "DE"])(NATIONAL) == ("Call <phone> or <phone>; Tel. <phone>, Berlin.", 3)


@pytest.mark.parametrize(
    "text",
    [
        "the wars of 1914-1918 and 1939-1945",
        "2012 2013 2014 2015 2016",
        "ISBN 978-3-16-148410-0 and ISBN 0-306-40615-2",
        "on 2021-03-04 at 12:30:45",
        "3.14159265358979",
        "192.168.0.1, 10.0.0.255",
        "1,234,567 people, $1 234 567",
        "order 1234567890, card 4111 1111 1111 1111",
        "lat +52.5200 lon +13.4050, +1234567 points",
        "Beverly Hills, CA 90210-1234",
    ],
)
def test_numbers_that_are_no_phone_numbers(text):
    assert Phones()(text) == (text, 0)
    assert Phones(["US", "DE"])(text) == (text, 0)


def test_phone_regions_that_are_not_known():
    with pytest.raises(ConfigError, match="^no phone region 'us'; did you mean 'US'"):
        Phones(["us"])
    with pytest.raises(ConfigError, match="^no phone region 'USA'; they are ISO 3166 codes"):
        Phones(["USA"])


@pytest.mark.parametrize(
    "key",
    [
        "AKIA" + "IOSFODNN7EXAMPLE",
        "ghp_" + "a1" * 18,
        "glpat-" + "x" * 20,
        "xoxb-" + "123456789-abcdef",
        "sk_live_" + "a1" * 12,
        "sk-proj-" + "a" * 20 + "T3BlbkFJ" + "b" * 20,
        "sk-proj-" + "a-_1" * 18 + "aaT3BlbkFJ" + "-_1b" * 18 + "bb",
        "sk-ant-" + "api03-" + "a-_1" * 23 + "1AA",
        "github_pat_" + "a1" * 11 + "_" + "b" * 59,
        "AIza" + "Sy-_1" * 7,
        "hf_" + "aB" * 17,
        "-----BEGIN RSA PRIVATE " + "KEY-----\nMIIE\nabc==\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_keys(key):
    assert Keys()(f"before {key} after") == ("before <key> after", 1)


@pytest.mark.parametrize(
    "text",
    [
        "the keyword of the AKIAI story",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "123e4567-e89b-12d3-a456-426614174000",
        "-----BEGIN PUBLIC KEY-----\nabc\n-----END PUBLIC KEY-----",
        "password = 'correct horse battery staple'",
    ],
)
def test_no_keys(text):
    assert Keys()(text) == (text, 0)


def test_parts_that_overlap_get_one_placeholder():
    class Overlapping(Emails):
        def find(self, text):
            yield 4, 6
            yield 1, 3
            yield 2, 5

    assert Overlapping()("abcdefgh") == ("a<email>gh", 1)


def test_hostile_texts_take_no_time_that_grows_with_their_square():
    for removal in (Emails(), Keys()):
        for text in (
            "a" * 10**5,
            "sk-" * 10**5,
            "sk-proj-" * 10**5,
            "eyJ" * 10**5,
            "a." * 10**5 + "@",
        ):
            assert removal(text) == (text, 0)
