"""The words of the clips that values are read from, a function a locale.

Which clips there are, and when each is heard, is said by LOCALE/rules.toml alone; here is
only what a voice has to say. A locale without a function has no clips for values.
"""

ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen "
    "fourteen fifteen sixteen seventeen eighteen nineteen"
).split()
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()
ORDINALS = (
    "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh "
    "twelfth thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth "
    "twentieth"
).split()


def spell(n):
    """English words of 0 to 99."""
    if n < 20:
        return ONES[n]
    tens, ones = divmod(n, 10)
    return TENS[tens] if ones == 0 else f"{TENS[tens]}-{ONES[ones]}"


def ordinal(n):
    """English ordinal of 1 to 31."""
    if n <= 20:
        return ORDINALS[n]
    if n == 30:
        return "thirtieth"
    return f"{TENS[n // 10]}-{ORDINALS[n % 10]}"


def listed(prefix, words):
    """`weekday.1` and so on."""
    return {f"{prefix}.{n}": word for n, word in enumerate(words, start=1)}


def units(pairs):
    """Singular and plural of each unit."""
    words = {}
    for unit, (one, other) in pairs.items():
        words[f"unit.{unit}.one"] = one
        words[f"unit.{unit}.other"] = other
    return words


def english():
    words = {f"n.{n}": spell(n) for n in range(100)}
    words |= {f"o.{n}": ordinal(n) for n in range(1, 32)}
    words |= {f"n.{w}": w for w in ("hundred", "thousand", "million", "billion")}
    words |= units({unit: (unit, unit + "s") for unit in ("second", "minute", "hour", "day", "call")})
    words |= units(
        {
            "usd": ("dollar", "dollars"),
            "usd_sub": ("cent", "cents"),
            "eur": ("euro", "euros"),
            "eur_sub": ("cent", "cents"),
            "gbp": ("pound", "pounds"),
            "gbp_sub": ("penny", "pence"),
        }
    )
    words |= listed("weekday", "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split())
    words |= listed(
        "month",
        "January February March April May June July August September October November December".split(),
    )
    return words | {
        "and": "and",
        "key.star": "star",
        "key.pound": "pound",
        "n.oh": "oh",
        "ampm.am": "A M",
        "ampm.pm": "P M",
        "day.today": "today",
        "day.tomorrow": "tomorrow",
        "day.yesterday": "yesterday",
        "ewt.less_than": "less than",
        "ewt.more_than": "more than",
        "record.review": "To send your message, press 1. To hear it, press 2. To record it again, press 3.",
    }


FRENCH_ONES = (
    "zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze "
    "seize dix-sept dix-huit dix-neuf"
).split()
FRENCH_TENS = {2: "vingt", 3: "trente", 4: "quarante", 5: "cinquante", 6: "soixante"}


def french_number(n, feminine=False):
    """French words of 0 to 99; feminine where a number has a form of its own."""
    one = "une" if feminine else "un"
    if n == 1:
        return one
    if n < 20:
        return FRENCH_ONES[n]
    if n == 80:
        return "quatre-vingts"
    if n > 80:
        return "quatre-vingt-" + french_number(n - 80, feminine)
    tens, ones = divmod(n, 10)
    if tens == 7:
        return "soixante et onze" if ones == 1 else "soixante-" + FRENCH_ONES[10 + ones]
    if ones == 0:
        return FRENCH_TENS[tens]
    if ones == 1:
        return f"{FRENCH_TENS[tens]} et {one}"
    return f"{FRENCH_TENS[tens]}-{FRENCH_ONES[ones]}"


def french_ordinal(n):
    """French ordinal of 1 to 31."""
    if n == 1:
        return "premier"
    word = french_number(n)
    if word.endswith("cinq"):
        return word + "uième"
    if word.endswith("neuf"):
        return word[:-1] + "vième"
    return (word[:-1] if word.endswith("e") else word) + "ième"


def french():
    words = {f"n.{n}": french_number(n) for n in range(100)}
    words |= {f"n.{n}.f": french_number(n, True) for n in (1, 21, 31, 41, 51, 61, 81)}
    words |= {f"o.{n}": french_ordinal(n) for n in range(1, 32)}
    words |= {"n.cent": "cent", "n.mille": "mille"}
    words |= {"n.million.one": "million", "n.million.other": "millions"}
    words |= {"n.milliard.one": "milliard", "n.milliard.other": "milliards"}
    words |= units(
        {
            "second": ("seconde", "secondes"),
            "minute": ("minute", "minutes"),
            "hour": ("heure", "heures"),
            "day": ("jour", "jours"),
            "call": ("appel", "appels"),
            "usd": ("dollar", "dollars"),
            "usd_sub": ("cent", "cents"),
            "eur": ("euro", "euros"),
            "eur_sub": ("centime", "centimes"),
            "gbp": ("livre", "livres"),
            "gbp_sub": ("penny", "pence"),
        }
    )
    words |= listed("weekday", "lundi mardi mercredi jeudi vendredi samedi dimanche".split())
    words |= listed(
        "month",
        "janvier février mars avril mai juin juillet août septembre octobre novembre décembre".split(),
    )
    return words | {
        "and": "et",
        "key.star": "étoile",
        "key.pound": "dièse",
        "day.today": "aujourd'hui",
        "day.tomorrow": "demain",
        "day.yesterday": "hier",
        "ewt.less_than": "moins de",
        "ewt.less_than_one": "moins d'une",
        "ewt.more_than": "plus de",
        "ewt.more_than_one": "plus d'une",
        "record.review": "Pour envoyer votre message, tapez 1. Pour l'écouter, tapez 2. Pour le refaire, tapez 3.",
    }


VALUES = {"en-US": english, "fr-FR": french}
# Voice of espeak-ng for drafts.
ESPEAK = {"en-US": "en-us", "fr-FR": "fr"}
