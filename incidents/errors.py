"""Errors of the incident side; all descend from `ledger.errors.TocsinError`.

No message repeats personal data: people and resources are named by file line, pseudonym or field.
"""

from __future__ import annotations

from ledger.errors import InputError, NotFoundError, StoreDamagedError, TocsinError


class IncidentError(TocsinError):
    """A command was refused because of the state the incident is in; nothing was recorded."""


class IncidentNotFoundError(NotFoundError):
    """No incident has this id in this ledger."""


class IncidentUnreadableError(StoreDamagedError):
    """An event in an incident's stream cannot be read: damaged, or written by a newer version of Tocsin."""


class FactError(InputError):
    """A fact or clock has an unknown name or a value of the wrong shape."""


class FourEyesError(IncidentError):
    """The author of a notice tried to approve it."""


class ApprovalError(IncidentError):
    """An approval does not bind to the current content, or something unapproved was to be sent."""


class LineError(InputError):
    """One line of a people or inventory file is wrong; nothing of the file was loaded.

    Attributes:
        line: line number in the file, from 1; 0 when the file as a whole is wrong.
    """

    def __init__(self, message: str, *, line: int = 0, field: str = "") -> None:
        super().__init__(message, field=field)
        self.line = line


class TemplateError(TocsinError):
    """A notice template lacks a demanded paragraph or names an unknown slot.

    Attributes:
        template: name of the template file within `incidents/notices/`.
        language: BCP 47 tag of the notice.
        element: content element of the law data, "" when the file as a whole is wrong.
    """

    def __init__(self, message: str, *, template: str, language: str = "", element: str = "") -> None:
        super().__init__(message)
        self.template = template
        self.language = language
        self.element = element
