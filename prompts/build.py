#!/usr/bin/env python3
"""Makes the recorded prompts of a locale: `build.py [--locale en-US] [--check]`.

A developer's tool; neither the daemon nor the tests synthesise speech. It collects the
words (prompts of the flows, and every clip the value rules can produce), speaks what is
new or has other words, trims and levels it, and writes FLAC files (16 kHz, mono, 16 bit)
and manifest.toml. Staleness is judged by words, not by audio.

`--check` only says what is missing, stale or damaged (exit 1); it needs no speech.
"""

import argparse
import hashlib
import io
import pathlib
import re
import sys
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
FLOWS = HERE.parent / "ivr-scripts"
RATE = 16_000
RMS_WANTED = 2600 / 32767  # active speech level: -22 dBFS
PEAK_MAX = 10 ** (-3 / 20)
LEAD_MS, TAIL_MS = 20, 60

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


def english_values():
    """Every clip that prompts/en-US/rules.toml can name, and its words."""
    words = {f"n.{n}": spell(n) for n in range(100)}
    words |= {f"o.{n}": ordinal(n) for n in range(1, 32)}
    words |= {f"n.{w}": w for w in ("hundred", "thousand", "million", "billion")}
    for unit in ("second", "minute", "hour", "day"):
        words[f"unit.{unit}.one"] = unit
        words[f"unit.{unit}.other"] = unit + "s"
    words |= {"and": "and", "key.star": "star", "key.pound": "pound"}
    return words


def pieces(name, text):
    """Cuts a sentence at its slots, as the daemon does: clip id -> words."""
    clips = {}
    slotted = "{" in text
    for number, words in enumerate(re.split(r"\{[^}]*\}", text)):
        if any(c.isalnum() for c in words):
            clips[f"{name}.{number}" if slotted else name] = words.strip()
    return clips


def phrases_of_flows(locale):
    """Prompt id -> sentence, from every flow whose first locale this is."""
    import yaml

    phrases = {}
    for path in sorted(FLOWS.glob("*.flow.yaml")):
        flow = yaml.safe_load(path.read_text(encoding="utf-8"))
        if flow.get("locales", ["en-US"])[0] != locale:
            continue
        for name, prompt in flow.get("prompts", {}).items():
            if phrases.setdefault(name, prompt["text"]) != prompt["text"]:
                sys.exit(f"{path.name}: prompt {name!r} has other words in another flow")
    return phrases


class Speaker:
    """hibari-tts, or espeak-ng (drafts) where its model is not installed."""

    def __init__(self):
        try:
            from hibari import Hibari

            self.tts = Hibari()
            self.voice, self.licence, self.quality = "hibari-tts 0.2.1 heart", "Apache-2.0", "final"
        except ImportError:
            self.tts = None
            self.voice, self.licence, self.quality = "espeak-ng", "see NOTICE", "draft"

    def say(self, words):
        """Samples (float, -1 to 1) and their rate."""
        import numpy as np

        if self.tts is not None:
            # A fixed seed: the same words give the same samples.
            return np.asarray(self.tts(words, seed=0), dtype=np.float64), self.tts.sample_rate
        import subprocess

        import soundfile

        wav = subprocess.run(
            ["espeak-ng", "-v", "en-us", "--stdout"], input=words.encode(), capture_output=True, check=True
        ).stdout
        return soundfile.read(io.BytesIO(wav), dtype="float64")


def resample(x, rate):
    """To 16 kHz through the spectrum: clips are short and begin and end in silence."""
    import numpy as np

    if rate == RATE:
        return x
    pad = np.zeros(rate // 10)
    x = np.concatenate([pad, x, pad])
    n = int(round(len(x) * RATE / rate))
    spectrum = np.fft.rfft(x)[: n // 2 + 1]
    full = np.zeros(n // 2 + 1, dtype=complex)
    full[: len(spectrum)] = spectrum
    return np.fft.irfft(full, n) * (n / len(x))


def active(x, drop_db=35):
    """Which 20 ms frames are speech: within 35 dB of the loudest."""
    import numpy as np

    size = RATE // 50
    frames = np.pad(x, (0, -len(x) % size)).reshape(-1, size)
    power = (frames**2).mean(axis=1)
    return frames, power > power.max() * 10 ** (-drop_db / 10)


def high_pass(x, hz=300):
    """Second-order Butterworth: low hum must not decide the level."""
    import math

    import numpy as np

    w = 2 * math.pi * hz / RATE
    alpha = math.sin(w) / math.sqrt(2)
    a0 = 1 + alpha
    b0, b1 = (1 + math.cos(w)) / 2 / a0, -(1 + math.cos(w)) / a0
    a1, a2 = -2 * math.cos(w) / a0, (1 - alpha) / a0
    y = np.zeros(len(x))
    x1 = x2 = y1 = y2 = 0.0
    for i, v in enumerate(x):
        out = b0 * v + b1 * x1 + b0 * x2 - a1 * y1 - a2 * y2
        x2, x1, y2, y1 = x1, v, y1, out
        y[i] = out
    return y


def finish(x, rate):
    """Trims to 20 ms before and 60 ms after the speech, and levels it."""
    import numpy as np

    x = resample(x, rate)
    _, speech = active(x)
    where = np.flatnonzero(speech)
    size = RATE // 50
    start = max(0, where[0] * size - LEAD_MS * RATE // 1000)
    end = min(len(x), (where[-1] + 1) * size + TAIL_MS * RATE // 1000)
    x = x[start:end]
    fade = RATE // 200  # 5 ms: no click at a cut
    x[:fade] *= np.linspace(0, 1, fade)
    x[-fade:] *= np.linspace(1, 0, fade)
    frames, speech = active(high_pass(x))
    level = np.sqrt((frames[speech] ** 2).mean())
    gain = min(RMS_WANTED / level, PEAK_MAX / np.abs(x).max())
    return np.round(x * gain * 32767).astype(np.int16)


def quote(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def write_manifest(path, voice, licence, phrases, clips):
    lines = ["# Written by prompts/build.py; sorted by id.", f"voice = {quote(voice)}", f"licence = {quote(licence)}", ""]
    lines.append("[phrase]")
    lines += [f"{name} = {quote(text)}" for name, text in sorted(phrases.items())]
    lines += ["", "[clip]"]
    for name, c in sorted(clips.items()):
        lines.append(
            f"{quote(name)} = {{ text = {quote(c['text'])}, file = {quote(c['file'])}, "
            f"sha256 = {quote(c['sha256'])}, ms = {c['ms']}, quality = {quote(c['quality'])} }}"
        )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def wanted_of(locale, phrases):
    wanted = english_values() if locale == "en-US" else {}
    for name, text in phrases.items():
        wanted |= pieces(name, text)
    return wanted


def fresh(folder, clip, words):
    """Whether a clip exists, says these words and is undamaged."""
    if clip is None or clip["text"] != words:
        return False
    file = folder / clip["file"]
    return file.exists() and hashlib.sha256(file.read_bytes()).hexdigest() == clip["sha256"]


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--locale", default="en-US")
    args.add_argument("--check", action="store_true")
    args = args.parse_args()
    folder = HERE / args.locale
    folder.mkdir(exist_ok=True)
    manifest = folder / "manifest.toml"
    old = tomllib.loads(manifest.read_text(encoding="utf-8")) if manifest.exists() else {}
    phrases = phrases_of_flows(args.locale) or old.get("phrase", {})
    wanted = wanted_of(args.locale, phrases)
    have = old.get("clip", {})
    stale = [name for name, words in sorted(wanted.items()) if not fresh(folder, have.get(name), words)]
    if args.check:
        for name in stale:
            print(f"{args.locale}/{name}: missing, stale or damaged")
        sys.exit(1 if stale or phrases != old.get("phrase") else 0)
    clips = {name: have[name] for name in wanted if name not in stale}
    voice, licence = old.get("voice", ""), old.get("licence", "")
    if stale:
        import soundfile

        speaker = Speaker()
        voice, licence = speaker.voice, speaker.licence
        for name in stale:
            # A full stop gives a word the melody of an end, also when it stands alone.
            words = wanted[name]
            samples = finish(*speaker.say(words if words[-1] in ".?!" else words + "."))
            file = folder / f"{name}.flac"
            soundfile.write(file, samples, RATE, format="FLAC", subtype="PCM_16")
            clips[name] = {
                "text": words,
                "file": file.name,
                "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
                "ms": round(len(samples) * 1000 / RATE),
                "quality": speaker.quality,
            }
            print(f"{args.locale}/{name}: {words}")
    write_manifest(manifest, voice, licence, phrases, clips)
    for file in folder.glob("*.flac"):
        if file.stem not in clips:
            file.unlink()
    total = sum(c["ms"] for c in clips.values()) / 1000
    print(f"{len(clips)} clips, {total:.0f} s, {len(stale)} made anew")


if __name__ == "__main__":
    main()
