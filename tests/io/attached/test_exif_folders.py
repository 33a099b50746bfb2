"""EXIF between EXIF blocks and TIFF files: values to the byte, offsets right, damage left out."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich_files import NOTE_TEXTS, exif_block, maker_note

from adaptsr_cli.io.attached.exif_density import add_density, read_density, scale_density
from adaptsr_cli.io.attached.exif_folders import (
    EXIF_FOLDER,
    INTEROPERABILITY_FOLDER,
    MAKER_NOTE,
    Folder,
    move_maker_note,
    read_block,
    read_folder,
    swap,
    write_block,
    write_folder,
)
from adaptsr_cli.io.exif import EXIF_PREFIX, clear_orientation, drop_orientation, read_orientation


def read(block: bytes) -> Folder:
    folder = read_block(block, EXIF_PREFIX)
    assert folder is not None
    return folder


def values(folder: Folder) -> dict[object, object]:
    """All that a folder holds, but where it stands and the maker's note."""
    found: dict[object, object] = {
        tag: (entry.kind, entry.count, entry.data) for tag, entry in folder.entries.items() if tag != MAKER_NOTE
    }
    return found | {("below", tag): values(below) for tag, below in folder.below.items()}


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_block_written_anew_holds_the_same(order: str) -> None:
    folder = read(exif_block(order))
    assert folder.below[EXIF_FOLDER].below[INTEROPERABILITY_FOLDER].entries[1].data == b"R98\0"
    again = read(write_block(folder, EXIF_PREFIX))
    assert values(again) == values(folder)
    note = again.below[EXIF_FOLDER].entries[MAKER_NOTE]
    assert note.data == maker_note(note.offset, order)


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_byte_order_can_be_changed(order: str) -> None:
    other = ">" if order == "<" else "<"
    folder = read(exif_block(order))
    assert values(swap(folder, other)) == values(read(exif_block(other)))
    assert values(swap(swap(folder, other), order)) == values(folder)


def test_folders_of_a_big_tiff_are_read_and_written() -> None:
    folder = read(exif_block())
    body = bytes(1000) + write_folder(folder, 1000, big=True)

    def take(place: int, length: int) -> bytes:
        if place + length > len(body):
            raise struct.error("cut off")
        return body[place : place + length]

    again = read_folder(take, "<", 1000, big=True)
    assert again is not None
    assert values(again) == values(folder)


def test_notes_that_count_from_their_own_beginning_stay() -> None:
    own = maker_note(0)
    assert (
        move_maker_note(b"Nikon\0\2\x10\0\0II*\0\x08\0\0\0" + own, "<", 500, 900)
        == b"Nikon\0\2\x10\0\0II*\0\x08\0\0\0" + own
    )
    assert move_maker_note(own, "<", 500, 900) == own
    assert move_maker_note(b"", "<", 500, 900) == b""
    assert move_maker_note(bytes(400), "<", 500, 900) == bytes(400)


def test_notes_of_the_file_are_moved_in_either_byte_order_and_behind_a_name() -> None:
    assert move_maker_note(maker_note(500), "<", 500, 900) == maker_note(900)
    assert move_maker_note(maker_note(500, ">"), "<", 500, 900) == maker_note(900, ">")
    sony = b"SONY DSC \0\0\0"
    assert move_maker_note(sony + maker_note(512), "<", 500, 900) == sony + maker_note(912)
    footer = b"II*\0" + struct.pack("<I", 500)  # Canon says where the note stood
    assert move_maker_note(maker_note(500) + footer, "<", 500, 900) == maker_note(900) + b"II*\0" + struct.pack(
        "<I", 900
    )
    assert len(NOTE_TEXTS) == 3


def test_folders_that_point_at_themselves_end() -> None:
    entry = struct.pack("<HHII", EXIF_FOLDER, 4, 1, 8)
    block = EXIF_PREFIX + b"II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)
    folder = read_block(block, EXIF_PREFIX)
    assert folder is not None
    assert not folder.below


@settings(max_examples=200)
@given(st.binary(max_size=80), st.integers(0, 400))
def test_no_bytes_make_it_fail(noise: bytes, place: int) -> None:
    block = exif_block()
    damaged = block[:14] + block[14:place] + noise + block[place + len(noise) :]
    folder = read_block(damaged, EXIF_PREFIX)
    if folder is not None:
        read_block(write_block(swap(folder, ">"), EXIF_PREFIX), EXIF_PREFIX)
    add_density(scale_density(drop_orientation(clear_orientation(damaged)), 2), 300, 300)


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_orientation_can_be_taken_out(order: str) -> None:
    block = exif_block(order, orientation=6)
    without = drop_orientation(block)
    assert read_orientation(without) == 1
    assert len(without) == len(block)
    kept = values(read(block))
    del kept[0x0112]
    assert values(read(without)) == kept
    assert drop_orientation(without) == without


@pytest.mark.parametrize("order", ["<", ">"])
def test_resolution_is_read_multiplied_and_added(order: str) -> None:
    block = exif_block(order)
    assert read_density(block) == (300, 300)
    assert read_density(scale_density(block, 2.5)) == (750, 750)
    assert read_density(scale_density(block, 1 / 3)) == pytest.approx((100, 100), abs=1e-3)
    assert add_density(block, 72, 72) == block
    bare = write_block(Folder(order, {0x010F: read(block).entries[0x010F]}, read(block).below), EXIF_PREFIX)
    assert read_density(bare) is None
    added = add_density(bare, 299.5, 72)
    assert read_density(added) == (299.5, 72)
    assert read(added).entries[0x010F].data == b"Canon\0"
    assert values(read(added).below[EXIF_FOLDER]) == values(read(bare).below[EXIF_FOLDER])
    assert read_density(add_density(None, 300, 300)) == (300, 300)


def test_resolution_in_centimetres() -> None:
    block = exif_block().replace(struct.pack("<HHIHH", 0x0128, 3, 1, 2, 0), struct.pack("<HHIHH", 0x0128, 3, 1, 3, 0))
    assert read_density(block) == (762, 762)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_thumbnail_at_the_end_goes_with_its_bytes(order: str) -> None:
    thumbnail = b"\xff\xd8" + bytes(5000) + b"\xff\xd9"
    cleared = clear_orientation(exif_block(order, orientation=6, thumbnail=thumbnail))
    assert thumbnail not in cleared
    assert len(cleared) < len(exif_block(order)) + 100
    assert values(read(cleared)) == values(read(exif_block(order)))
