#!/usr/bin/env python3
"""Brings recordings of other makers into an operator's folder of prompts:

  import.py asterisk /usr/share/asterisk/sounds/en_US_f_Allison --to my-prompts
  import.py wav recordings/ --to my-prompts --locale fr-FR

`asterisk` takes the numbers, days, months and words of a Debian sound set
(asterisk-core-sounds-LANG-wav, CC-BY-SA-3.0: keep them out of this repository, since
they would carry its licence along). `wav` takes files named after clips: goodbye.wav,
hello.0.wav. Both trim and level as build.py does and write FOLDER/LOCALE/CLIP.flac; name
the folder as `prompts` under `[ivr]`. What a locale needs and the set does not have is told
at the end; the shipped clip stays for it.
"""

import argparse
import pathlib
import sys
import tomllib

from build import HERE, RATE, finish


def asterisk_files():
    """Clip id -> files of the set that make it, said one after another."""
    files = {f"n.{n}": [f"digits/{n}"] for n in range(21)}
    for tens in range(20, 100, 10):
        files[f"n.{tens}"] = [f"digits/{tens}"]
        for ones in range(1, 10):
            files[f"n.{tens + ones}"] = [f"digits/{tens}", f"digits/{ones}"]
    files |= {f"o.{n}": [f"digits/h-{n}"] for n in range(1, 21)}
    files["o.30"] = ["digits/h-30"]
    for n in range(21, 32):
        if n != 30:
            files[f"o.{n}"] = [f"digits/{n // 10 * 10}", f"digits/h-{n % 10}"]
    # Sunday is day 0 there, January month 0.
    files |= {f"weekday.{n}": [f"digits/day-{n % 7}"] for n in range(1, 8)}
    files |= {f"month.{n}": [f"digits/mon-{n - 1}"] for n in range(1, 13)}
    files |= {f"n.{w}": [f"digits/{w}"] for w in ("hundred", "thousand", "million", "billion", "oh")}
    files |= {f"day.{w}": [f"digits/{w}"] for w in ("today", "tomorrow", "yesterday")}
    files |= {"ampm.am": ["digits/a-m"], "ampm.pm": ["digits/p-m"], "and": ["digits/and"]}
    files |= {"key.star": ["letters/asterisk"], "key.pound": ["letters/hash"]}
    for unit in ("second", "minute", "hour", "day"):
        files[f"unit.{unit}.one"] = [unit]
        files[f"unit.{unit}.other"] = [f"{unit}s"]
    files["unit.usd.other"] = ["digits/dollars"]
    return files


def read(path):
    """Samples of one channel and their rate."""
    import soundfile

    samples, rate = soundfile.read(path, dtype="float64", always_2d=True)
    return samples.mean(axis=1), rate


def joined(paths):
    """Several recordings as one, each trimmed of its silence first."""
    import numpy as np

    parts = [finish(*read(path)).astype(np.float64) / 32767 for path in paths]
    return (parts[0], RATE) if len(parts) == 1 else (np.concatenate(parts), RATE)


def main():
    args = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    args.add_argument("kind", choices=["asterisk", "wav"])
    args.add_argument("folder", type=pathlib.Path)
    args.add_argument("--to", type=pathlib.Path, required=True)
    args.add_argument("--locale", default="en-US")
    args = args.parse_args()
    import soundfile

    manifest = HERE / args.locale / "manifest.toml"
    if not manifest.exists():
        sys.exit(f"{args.locale}: there is no such locale in {HERE}")
    wanted = tomllib.loads(manifest.read_text(encoding="utf-8"))["clip"]
    if args.kind == "asterisk":
        found = {
            clip: [args.folder / f"{name}.wav" for name in names]
            for clip, names in asterisk_files().items()
        }
    else:
        found = {path.stem: [path] for path in sorted(args.folder.glob("*.wav"))}
    out = args.to / args.locale
    out.mkdir(parents=True, exist_ok=True)
    made = []
    for clip, paths in found.items():
        if clip not in wanted:
            print(f"{clip}: no clip of {args.locale}", file=sys.stderr)
        elif all(path.exists() for path in paths):
            samples = finish(*joined(paths))
            soundfile.write(out / f"{clip}.flac", samples, RATE, format="FLAC", subtype="PCM_16")
            made.append(clip)
    values = [clip for clip in wanted if clip in asterisk_files() and clip not in made]
    rest = values if args.kind == "asterisk" else sorted(set(wanted) - set(made))
    print(f"{len(made)} of {len(wanted)} clips written to {out}")
    if rest:
        print(f"not there, the shipped ones stay: {' '.join(sorted(rest))}")


if __name__ == "__main__":
    main()
