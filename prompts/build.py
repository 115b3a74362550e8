#!/usr/bin/env python3
"""Makes the recorded prompts of a locale: `build.py [--locale en-US] [--check]`, and the
hold music: `build.py --music`.

A developer's tool; neither the daemon nor the tests synthesise speech. It collects the
words (prompts of the flows, their translations in LOCALE/phrases.toml, and every clip the
value rules can produce), speaks what is new or has other words, trims and levels it, and
writes FLAC files (mono, 16 bit, 16 kHz, drafts 8 kHz) and manifest.toml. Staleness is judged by words,
not by audio. hibari-tts speaks English; other languages are drafts by espeak-ng.

`--check` only says what is missing, stale or damaged (exit 1); it needs no speech.
"""

import argparse
import hashlib
import io
import pathlib
import re
import sys
import tomllib

from words import ESPEAK, VALUES

HERE = pathlib.Path(__file__).resolve().parent
FLOWS = HERE.parent / "ivr-scripts"
RATE, DRAFT_RATE = 16_000, 8_000
RMS_WANTED = 2600 / 32767  # active speech level: -22 dBFS
PEAK_MAX = 10 ** (-3 / 20)
LEAD_MS, TAIL_MS = 20, 60

def pieces(name, text):
    """Cuts a sentence at its slots, as the daemon does: clip id -> words."""
    clips = {}
    slotted = "{" in text
    for number, words in enumerate(re.split(r"\{[^}]*\}", text)):
        if any(c.isalnum() for c in words):
            clips[f"{name}.{number}" if slotted else name] = words.strip()
    return clips


def phrases_of_flows():
    """Prompt id -> sentence, from every flow, in the flow's own language."""
    import yaml

    phrases = {}
    for path in sorted(FLOWS.glob("*.flow.yaml")):
        flow = yaml.safe_load(path.read_text(encoding="utf-8"))
        for name, prompt in flow.get("prompts", {}).items():
            if phrases.setdefault(name, prompt["text"]) != prompt["text"]:
                sys.exit(f"{path.name}: prompt {name!r} has other words in another flow")
    return phrases


def phrases_of(locale):
    """The sentences of a locale: those of the flows, or their translations."""
    own = phrases_of_flows()
    file = HERE / locale / "phrases.toml"
    if not file.exists():
        return own
    translated = tomllib.loads(file.read_text(encoding="utf-8"))
    missing = sorted(set(own) - set(translated))
    if missing:
        sys.exit(f"{file}: no sentence for {', '.join(missing)}")
    return translated


class Speaker:
    """hibari-tts for English where it is installed, else espeak-ng, whose clips are drafts."""

    def __init__(self, locale):
        self.locale = locale
        try:
            if not locale.startswith("en-"):
                raise ImportError
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
            ["espeak-ng", "-v", ESPEAK[self.locale], "-s", "150", "--stdout"], input=words.encode(), capture_output=True, check=True
        ).stdout
        return soundfile.read(io.BytesIO(wav), dtype="float64")


def resample(x, rate, to=RATE):
    """To another rate through the spectrum: clips are short and begin and end in silence."""
    import numpy as np

    if rate == to:
        return x
    pad = np.zeros(rate // 10)
    x = np.concatenate([pad, x, pad])
    n = int(round(len(x) * to / rate))
    spectrum = np.fft.rfft(x)[: n // 2 + 1]
    full = np.zeros(n // 2 + 1, dtype=complex)
    full[: len(spectrum)] = spectrum[: len(full)]
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
    wanted = VALUES[locale]() if locale in VALUES else {}
    for name, text in phrases.items():
        wanted |= pieces(name, text)
    return wanted


def fresh(folder, clip, words):
    """Whether a clip exists, says these words and is undamaged."""
    if clip is None or clip["text"] != words:
        return False
    file = folder / clip["file"]
    return file.exists() and hashlib.sha256(file.read_bytes()).hexdigest() == clip["sha256"]


def music():
    """Hold music of our own: slow broken chords of plucked strings, 32 s, without an end to
    be heard when it begins again."""
    import numpy as np
    import soundfile

    beat, chords = 0.5, [(45, 52, 57, 60, 64), (41, 48, 53, 57, 60), (48, 55, 60, 64, 67), (43, 50, 55, 59, 62)]
    total = int(RATE * beat * 16 * len(chords))
    out = np.zeros(total)
    for number, chord in enumerate(chords * 4):
        for step, place in enumerate((0, 2, 3, 4)):
            at = int(RATE * beat * (number * 4 + step))
            hz = 440 * 2 ** ((chord[place] - 69) / 12)
            t = np.arange(int(RATE * 2.2)) / RATE
            note = sum(np.sin(2 * np.pi * hz * k * t) * np.exp(-t * (1.6 + k)) / k for k in (1, 2, 3))
            note *= np.minimum(1, t / 0.004)
            # What rings over the end rings into the beginning.
            where = (at + np.arange(len(note))) % total
            np.add.at(out, where, note * (0.9 if step == 0 else 0.6))
    out *= 0.25 / np.abs(out).max()
    folder = HERE / "hold"
    folder.mkdir(exist_ok=True)
    soundfile.write(folder / "default.flac", np.round(out * 32767).astype(np.int16), RATE, format="FLAC", subtype="PCM_16")


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--locale", default="en-US")
    args.add_argument("--check", action="store_true")
    args.add_argument("--music", action="store_true", help="make hold/default.flac, nothing else")
    args = args.parse_args()
    if args.music:
        return music()
    folder = HERE / args.locale
    folder.mkdir(exist_ok=True)
    manifest = folder / "manifest.toml"
    old = tomllib.loads(manifest.read_text(encoding="utf-8")) if manifest.exists() else {}
    phrases = phrases_of(args.locale)
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
        import numpy as np
        import soundfile

        speaker = Speaker(args.locale)
        voice, licence = speaker.voice, speaker.licence
        for name in stale:
            # A full stop gives a word the melody of an end, also when it stands alone.
            words = wanted[name]
            samples = finish(*speaker.say(words if words[-1] in ".?!" else words + "."))
            file = folder / f"{name}.flac"
            rate = RATE
            if speaker.quality == "draft":  # what a telephone carries, in half the bytes
                rate = DRAFT_RATE
                pad = rate // 10
                samples = resample(samples.astype(float), RATE, rate)[pad:-pad]
                samples = np.round(samples).astype(np.int16)
            soundfile.write(file, samples, rate, format="FLAC", subtype="PCM_16")
            clips[name] = {
                "text": words,
                "file": file.name,
                "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
                "ms": round(len(samples) * 1000 / rate),
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
