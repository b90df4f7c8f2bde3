"""Where the invented people live, and what invented people are called there.

Every given and family name is made up for this file; every address is on example.org (RFC 2606);
every telephone number lies in a range that is set aside for fiction: +1 NXX 555 01XX (North American
Numbering Plan) and +33 6 39 98 XX XX (Arcep). People elsewhere carry such a number too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Region:
    """One jurisdiction of the invented world.

    Attributes:
        code: ISO 3166-1 or 3166-2 code, as the law data uses it.
        country: last line of a postal address.
        language: BCP 47 tag of nearly everybody there.
        share: people of a thousand.
        given, family: invented names.
        order: how the two are put together, a format with `{given}` and `{family}`.
        street, towns: parts of a postal address.
    """

    code: str
    country: str
    language: str
    share: int
    given: tuple[str, ...]
    family: tuple[str, ...]
    order: str
    street: str
    towns: tuple[str, ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_WESTERN: Final = "{given} {family}"

_ES_GIVEN = _words(
    "Alvarela Benitor Cilandra Dorimea Elvirio Fantina Gelasor Hortencia-Luz Irandio Jacobea Lisardo Marivel"
)
_ES_FAMILY = _words("Ficticio Imaginaria Ejemplar Supuesto Inventor Quimera Fabular Novelado Postizo Aparente")
_EN_GIVEN = _words("Arlowe Brindle Corvina Dashel Emberly Fenwick Gladwyn Harlo Isolde-May Juniper Kestrel Lorimer")
_EN_FAMILY = _words(
    "Fictorson Madeuple Placeholder Samplewood Notreal Quillmar Testerby Exampleton Fablewright Mockridge"
)

REGIONS: Final = (
    Region(
        "ES", "ES", "es", 165, _ES_GIVEN, _ES_FAMILY, _WESTERN,
        "Calle Inventada {number}", ("28990 Villaejemplo", "08999 Puerto Supuesto", "41990 Imaginaria"),
    ),
    Region(
        "MX", "MX", "es", 115, _ES_GIVEN, _ES_FAMILY, _WESTERN,
        "Avenida Ficticia {number}", ("06999 Ciudad Quimera", "44990 San Ejemplo"),
    ),
    Region(
        "DE", "DE", "de", 95,
        _words("Adalwin Brunhold Cordelinde Dietmara Fridoline Gundula-Mai Hartwiga Ingomar Jorinde"),
        _words("Musterfeld Beispieler Erfundner Platzhalter Scheinbach Attrapp Fabulmann Testhofer"),
        _WESTERN, "Musterweg {number}", ("10999 Beispielstadt", "80999 Erfindungen"),
    ),
    Region(
        "FR", "FR", "fr", 85,
        _words("Aurelmine Bastide Clothaire Delphinor Florimond Garance-Lys Honorel Isaurine Joachin"),
        _words("Exemplaire Fictif Imaginier Inventel Supposé Chimère Fabuleux Factice"),
        _WESTERN, "Rue de l'Exemple {number}", ("75999 Imaginaire", "69999 Villefictive"),
    ),
    Region(
        "US-CA", "US", "en", 230, _EN_GIVEN, _EN_FAMILY, _WESTERN,
        "{number} Sample Street", ("Example Bay, CA 90000", "Port Fiction, CA 94000"),
    ),
    Region(
        "US-TX", "US", "en", 125, _EN_GIVEN, _EN_FAMILY, _WESTERN,
        "{number} Placeholder Road", ("Mock Springs, TX 73300", "Fable City, TX 75000"),
    ),
    Region(
        "CN", "CN", "zh-Hans", 85,
        _words("明例 安试 小样 若虚 子拟 思构 文范 雨设"), _words("样 例 试 虚 拟 范"),
        "{family}{given}", "示例路{number}号", ("虚构市样本区 100999", "示例市拟定区 200999"),
    ),
    Region(
        "BR", "BR", "pt-BR", 60,
        _words("Alcivar Belmira Clodoaldo Dalvina Eurico-Sol Florisbela Graciano Helenira"),
        _words("Exemplino Fictício Imaginado Suposto Inventário Hipótese"),
        _WESTERN, "Rua do Exemplo {number}", ("01999-000 Vila Fictícia", "20999-000 Porto Suposto"),
    ),
    Region(
        "JP", "JP", "ja", 40,
        _words("例子 仮太 試郎 見本子 想介 架奈"), _words("架空 見本 仮名 試験 想定"),
        "{family}{given}", "例示町{number}番地", ("〒100-9999 架空市", "〒530-9999 見本区"),
    ),
)  # fmt: skip
"""Nine jurisdictions; the shares sum to 1000."""
