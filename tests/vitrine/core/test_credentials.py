"""No password of a URL is shown, and what is none stays readable."""

import pytest

from vitrine.core.credentials import hide_credentials


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("s3://me:pa55@host/a.tar", "s3://me:***@host/a.tar"),
        ("ftp://:pa55@host", "ftp://:***@host"),
        ("https://ghp_0123@host/{0..9}.tar", "https://***@host/{0..9}.tar"),
        ("a https://u:p:q@h/1 b http://u:p@h/2", "a https://u:***@h/1 b http://u:***@h/2"),
        ("'https://h/a?sig=12%2B&b=3'", "'https://h/a?sig=***&b=3'"),
        (
            "https://h/a?X-Amz-Credential=A/1&X-Amz-Security-Token=x#t",
            "https://h/a?X-Amz-Credential=***&X-Amz-Security-Token=***#t",
        ),
        ("https://h/a?api_key=1", "https://h/a?api_key=***"),
    ],
)
def test_credentials_are_hidden(text: str, hidden: str) -> None:
    assert hide_credentials(text) == hidden
    assert hide_credentials(hidden) == hidden


@pytest.mark.parametrize(
    "text",
    ["data/me@home/a.tar", "http://host:80/a@b.tar", "s3://bucket/{000..012}.tar", "git@host:a", "C:\\a", "a?b=c", ""],
)
def test_other_texts_stay(text: str) -> None:
    assert hide_credentials(text) == text
