"""The page of the webhooks: what people see of deliveries, and what they do with them. Everything on it is a stranger's."""

import json
from collections.abc import Callable
from html import unescape

import pytest
from flask.testing import FlaskClient

from celeriac import Celeriac

from .conftest import POLYGLOT, Send
