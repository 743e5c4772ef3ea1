# SPDX-License-Identifier: GPL-2.0-or-later
"""The sessions printed in the README and in docs/ are what the debugger prints (tests/helpers/transcripts.py writes them anew)."""

from __future__ import annotations

import pytest
from helpers.transcripts import DOCUMENTS, Session, sessions

FOUND = [session for document in DOCUMENTS for session in sessions(document)]


@pytest.mark.parametrize("session", FOUND, ids=[session.name for session in FOUND])
def test_printed_sessions_are_what_the_debugger_prints(session: Session) -> None:
    assert session.run() == session.text, "python tests/helpers/transcripts.py writes it as it is now"


def test_every_protocol_has_a_session() -> None:
    words = {word for session in FOUND for word in session.arguments}
    assert {"kvm", "kvm-2010", "sdei", "ppi-only", "papr", "rfc", "native", "--tce"} <= words
