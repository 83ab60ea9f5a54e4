"""Scores in MusicXML: which keys sound when, read with the standard library.

A score is read from front to back. Repeats are not played twice; grace notes, which take no time, are left out.
"""

import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

KEYS = 88
LOWEST = 21
"""The MIDI number of the lowest key of a piano, A0; the highest, C8, is 108."""

_SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


class Note(NamedTuple):
    """A key from ``start`` until just before ``end``, both in quarter notes from the beginning of the piece."""

    key: int
    """0 is the lowest of the 88 keys."""
    start: float
    end: float


def read(path: Path) -> list[list[Note]]:
    """The notes of each part of a score, in the order of the file; ``path`` is a .mxl (zipped) or a plain .xml file."""
    if path.suffix == ".mxl":
        with zipfile.ZipFile(path) as archive:
            container = ElementTree.fromstring(archive.read("META-INF/container.xml"))
            score = next(element for element in container.iter() if element.tag.endswith("rootfile"))
            text = archive.read(score.attrib["full-path"])
    else:
        text = path.read_bytes()
    return [_notes(part) for part in ElementTree.fromstring(text).iter("part")]


def piano_roll(parts: list[list[Note]], step: float = 1.0) -> np.ndarray:
    """What sounds at time 0, ``step``, 2 ``step``, ... quarter notes: (T, 88) uint8, 0 or 1."""
    notes = [note for part in parts for note in part]
    length = max((note.end for note in notes), default=0.0)
    roll = np.zeros((int(np.ceil(round(length / step, 6))), KEYS), np.uint8)
    for note in notes:
        # Times are sums of fractions such as a third. Rounding keeps a note silent at the step at which it ends.
        first, last = (int(np.ceil(round(time / step, 6))) for time in (note.start, note.end))
        if 0 <= note.key < KEYS:
            roll[first:last, note.key] = 1
    return roll


def _notes(part: ElementTree.Element) -> list[Note]:
    """The notes of a part. A measure has its voices one after the other, with a step back in time between them."""
    notes: list[Note] = []
    divisions, measure_start, onset = 1, 0.0, 0.0
    for measure in part.iter("measure"):
        now = furthest = measure_start
        for element in measure:
            if element.tag == "attributes":
                divisions = int(element.findtext("divisions") or divisions)
                continue
            if element.tag not in ("note", "backup", "forward") or element.find("grace") is not None:
                continue
            duration = float(element.findtext("duration") or 0) / divisions
            if element.tag == "backup":
                now -= duration
                continue
            # The notes of a chord after its first begin where that one began.
            if element.find("chord") is None:
                onset, now = now, now + duration
            pitch = element.find("pitch")
            if pitch is not None:
                notes.append(Note(_key(pitch), onset, onset + duration))
            furthest = max(furthest, now)
        measure_start = furthest
    return notes


def _key(pitch: ElementTree.Element) -> int:
    octave, alter = int(pitch.findtext("octave") or 0), round(float(pitch.findtext("alter") or 0))
    return 12 * (octave + 1) + _SEMITONES[pitch.findtext("step") or "C"] + alter - LOWEST
