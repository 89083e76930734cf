"""Credentials in URLs, hidden before a text is shown, logged or sent elsewhere."""

import re

HIDDEN = "***"
_PASSWORD = re.compile(r"(?P<start>\b[a-z][\w+.-]*://[^\s/@:'\"]*:)[^\s/@'\"]+(?=@)", re.IGNORECASE)
_USER_TOKEN = re.compile(r"(?P<start>\bhttps?://)[^\s/@:'\"]+(?=@)", re.IGNORECASE)
_QUERY = re.compile(
    r"(?P<start>[?&][\w.-]*(?:token|secret|signature|sig|password|passwd|key|credential|auth)[\w.-]*=)[^&\s'\"#]+",
    re.IGNORECASE,
)


def hide_credentials(text: str) -> str:
    """The text, with stars for passwords, tokens and signatures in its URLs.

    Example:
        >>> hide_credentials("s3://me:pa55@host/a.tar and https://host/b.tar?X-Amz-Signature=12ab&part=2")
        's3://me:***@host/a.tar and https://host/b.tar?X-Amz-Signature=***&part=2'
    """
    for pattern in (_PASSWORD, _USER_TOKEN, _QUERY):
        text = pattern.sub(rf"\g<start>{HIDDEN}", text)
    return text
