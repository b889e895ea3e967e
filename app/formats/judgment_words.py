"""The words by which columns say that they hold a judgment, and judgments that they are ties.

They are in eight languages. Words are compared without accents and capitals. `note` and `nota` are
missing: they are grades in some languages, but remarks in others.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Final

PREFERENCE: Final = "a preference"
LABEL: Final = "a label"
SCORE: Final = "a score"
RESPONSE: Final = "a response to compare"

_BREAKS = re.compile(r"(?<=[^\W_A-Z])(?=[A-Z])|[\W_]+")
# These letters have no decomposition in Unicode.
_PLAIN = str.maketrans({"ł": "l", "ø": "o", "æ": "ae", "œ": "oe"})


def words_of(name: str) -> list[str]:
    """Return the words of a column's name, in small letters without accents."""
    return [_bare(word) for word in _BREAKS.split(unicodedata.normalize("NFC", name)) if word]


def _bare(word: str) -> str:
    parts = unicodedata.normalize("NFKD", word.casefold().translate(_PLAIN))
    return "".join(letter for letter in parts if not unicodedata.combining(letter))


def _kinds(**texts: str) -> Mapping[str, str]:
    """Return the kind of each word; the arguments are lists of words, by the kind's name."""
    kinds = {"preference": PREFERENCE, "label": LABEL, "score": SCORE}
    return {_bare(word): kinds[kind] for kind, text in texts.items() for word in text.split()}


def _phrases(*texts: str) -> frozenset[str]:
    """Return phrases as `phrase_of` gives them; the arguments separate them by semicolons."""
    return frozenset(phrase_of(phrase) for text in texts for phrase in text.split(";"))


def phrase_of(text: str) -> str:
    """Return a text as its words, in small letters without accents, one space apart."""
    return " ".join(words_of(text))


ENGLISH: Final = _kinds(
    preference=(
        "chosen rejected preferred unpreferred preference preferences winner winners loser better "
        "worse safer rank ranks ranking rankings vote votes upvotes downvotes margin"
    ),
    label="label labels thumb thumbs",
    score=(
        "score scores rating ratings reward rewards helpfulness harmlessness correctness coherence "
        "honesty truthfulness toxicity"
    ),
)
"""A name that contains one of these words holds a judgment."""

FOREIGN: Final = {
    # German
    **_kinds(
        preference=(
            "gewinner gewinnerin sieger siegerin verlierer gewählt gewaehlt gewählte ausgewählt "
            "ausgewaehlt bevorzugt bevorzugte präferiert präferenz praeferenz abgelehnt abgelehnte "
            "verworfen besser bessere schlechter schlechtere beste rang rangfolge stimme stimmen"
        ),
        label="etikett kennzeichnung",
        score="bewertung bewertungen punkte punktzahl punktwert wertung",
    ),
    # French
    **_kinds(
        preference=(
            "gagnant gagnante vainqueur perdant choisi choisie préféré préférée préférence "
            "rejeté rejetée refusé refusée meilleur meilleure pire classement rang"
        ),
        label="étiquette",
        score="notation",
    ),
    # Spanish
    **_kinds(
        preference=(
            "ganador ganadora perdedor elegido elegida preferido preferida preferencia rechazado "
            "rechazada mejor peor rango voto votos"
        ),
        label="etiqueta",
        score="puntuación puntuaciones puntaje calificación valoración puntos",
    ),
    # Italian
    **_kinds(
        preference=(
            "vincitore vincitrice vincente perdente scelto scelta preferito preferita preferenza "
            "rifiutato rifiutata scartato scartata migliore peggiore voti"
        ),
        label="etichetta",
        score="punteggio punteggi valutazione",
    ),
    # Portuguese
    **_kinds(
        preference=(
            "vencedor vencedora escolhido escolhida preferência rejeitado rejeitada melhor pior"
        ),
        label="rótulo",
        score="pontuação avaliação classificação",
    ),
    # Dutch
    **_kinds(
        preference="winnaar verliezer gekozen voorkeur afgewezen verworpen beter slechter",
        score="beoordeling waardering punten",
    ),
    # Polish
    **_kinds(
        preference=(
            "zwycięzca zwycięska przegrany wybrany wybrana wybrane preferowany preferowana "
            "preferowane preferencja odrzucony odrzucona odrzucone lepszy lepsza lepsze gorszy "
            "gorsza gorsze"
        ),
        label="etykieta",
        score="ocena oceny wynik punkty punktacja",
    ),
}
"""The same in other languages."""

NAMES: Final = {
    **dict.fromkeys(("choice", "selected", "best"), PREFERENCE),
    **dict.fromkeys(("wahl", "auswahl", "choix", "eleccion", "escolha", "keuze"), PREFERENCE),
    "wybor": PREFERENCE,
    "quality": SCORE,
    **dict.fromkeys(("thumbsup", "thumbsdown", "kto_tag", "is_good", "is_bad"), LABEL),
    **dict.fromkeys(("is_safe", "is_response_0_safe", "is_response_1_safe"), LABEL),
}
"""These are whole names; their words are common in other fields."""

TIES: Final = _phrases(
    "tie; tied; draw; equal; equally good; same; both; both good; no difference; no preference",
    "gleich; gleich gut; gleichwertig; gleichstand; unentschieden; beide; beide gleich; "
    "beide gleich gut; kein unterschied; egal",
    "égalité; à égalité; égal; égale; égaux; égales; ex aequo; match nul; pareil; les deux; "
    "aucune différence",
    "empate; empatados; empatadas; igual; iguales; ambos; ambas; los dos; las dos; sin diferencia",
    "pareggio; pari; parità; uguale; uguali; pari merito; entrambi; entrambe; nessuna differenza",
    "iguais; empatados; empatadas; os dois; as duas; sem diferença",
    "gelijk; gelijkspel; gelijk spel; even goed; geen verschil",
    "remis; równo; tak samo; oba; obie; bez różnicy",
)
"""What a winner says if neither response is better."""
BOTH_BADS: Final = _phrases(
    "both bad; both are bad; neither",
    "beide schlecht; keine; keine von beiden; keiner",
    "les deux mauvaises; les deux mauvais; aucune; aucun; aucune des deux; aucun des deux",
    "ambas malas; ambos malos; ninguna; ninguno; ninguna de las dos",
    "entrambe scadenti; entrambe cattive; entrambi cattivi; nessuna; nessuno; nessuna delle due",
    "ambas ruins; ambos ruins; nenhuma; nenhum; nenhuma das duas",
    "beide slecht; geen; geen van beide",
    "obie złe; oba złe; żadna; żaden; żadna z nich",
)
"""What a winner says if no response is good."""

RESPONSES: Final = frozenset(
    {
        *("response", "answer", "completion", "output", "antwort", "ausgabe", "reponse"),
        *("respuesta", "risposta", "resposta", "antwoord", "odpowiedz"),
    }
)
"""A name that is one of these and a letter or number of `PLACES` holds one of two responses."""
PLACES: Final = frozenset("ab12")


def is_tie(text: str) -> bool:
    """Whether a text says that two responses are equally good."""
    return phrase_of(text) in TIES


def is_both_bad(text: str) -> bool:
    """Whether a text says that no response is good."""
    return phrase_of(text) in BOTH_BADS
