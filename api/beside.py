"""What `verify` holds against the log beyond the ledger's own tables."""

from __future__ import annotations

from typing import Final

import incidents.audit
import notifiers.audit
from ledger.verify import Beside

BESIDE: Final = (
    Beside(incidents.audit.TABLES, incidents.audit.check),
    Beside(notifiers.audit.TABLES, notifiers.audit.check),
)
