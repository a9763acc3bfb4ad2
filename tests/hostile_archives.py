"""Archives that must not be unpacked, each a function that returns its bytes."""

import io
import os
import tarfile
import warnings
import zipfile


def link(kind):
    info = tarfile.TarInfo("a")
    info.type, info.linkname = kind, "b"
    return info


def member(name, size):
    info = tarfile.TarInfo(name)
    info.size = size
    return info


def hostile_tar(info):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as container:
        container.addfile(tarfile.TarInfo("VOCdevkit/harmless.txt"))
        container.addfile(info, io.BytesIO(bytes(info.size)))
    return buffer.getvalue()


def hostile_zip(name, mode=0o100644):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as container:
        container.writestr("annotations/harmless.txt", "")
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        container.writestr(info, "/etc/passwd")
    return buffer.getvalue()


def tar_of(*names, mode="w"):
    """A tar of files with these names, each of 2,000 random bytes; a name with a slash at its end
    is a folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as container:
        for name in names:
            info = member(name, 0 if name.endswith("/") else 2000)
            info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            container.addfile(info, io.BytesIO(os.urandom(info.size)))
    return buffer.getvalue()


def zip_of(*names, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", compression) as container:
        warnings.simplefilter("ignore")  # about names that appear twice
        for name in names:
            container.writestr(name, os.urandom(2000))
    return buffer.getvalue()


def flipped(content, place):
    damaged = bytearray(content)
    damaged[place] ^= 0xFF
    return bytes(damaged)


HOSTILE = {
    "above.tar": lambda: hostile_tar(tarfile.TarInfo("../evil")),
    "inside.tar": lambda: hostile_tar(tarfile.TarInfo("VOCdevkit/../../evil")),
    "absolute.tar": lambda: hostile_tar(tarfile.TarInfo("/tmp/evil")),
    "symlink.tar": lambda: hostile_tar(link(tarfile.SYMTYPE)),
    "hardlink.tar": lambda: hostile_tar(link(tarfile.LNKTYPE)),
    "device.tar": lambda: hostile_tar(link(tarfile.CHRTYPE)),
    "pipe.tar": lambda: hostile_tar(link(tarfile.FIFOTYPE)),
    "above.zip": lambda: hostile_zip("../evil"),
    "absolute.zip": lambda: hostile_zip("/tmp/evil"),
    "backslash.zip": lambda: hostile_zip("..\\evil"),
    "symlink.zip": lambda: hostile_zip("a", 0o120777),
    "damaged.zip": lambda: b"no zip at all",
    "damaged.tar": lambda: b"no tar at all",
    "twice.tar": lambda: tar_of("d/a.jpg", "d/a.jpg"),
    "twice.zip": lambda: zip_of("d/a.jpg", "d/a.jpg"),
    "spelled-twice.tar": lambda: tar_of("d/a.jpg", "./d//a.jpg"),
    "case.tar": lambda: tar_of("d/a.jpg", "D/A.jpg"),
    "case.zip": lambda: zip_of("d/a.jpg", "d/A.JPG"),
    "file-in-file.tar": lambda: tar_of("d", "d/a.jpg"),
    "file-on-folder.zip": lambda: zip_of("d/a.jpg", "d"),
    "dot.tar": lambda: tar_of("."),
    "no-name.tar": lambda: tar_of("d/a.jpg", ""),
    "long-name.tar": lambda: tar_of("x" * 256),
    "long-name.zip": lambda: zip_of("d/" + "\u6771" * 100),
    "long-path.tar": lambda: tar_of("d/" * 600 + "a"),
    "two-lines.tar": lambda: tar_of("d/a\nb.jpg"),
    "terminal.zip": lambda: zip_of("d/\x1b[2J.jpg"),
    "damaged-bz2.zip": lambda: flipped(zip_of("a", compression=zipfile.ZIP_BZIP2), 60),
    "damaged-lzma.zip": lambda: flipped(zip_of("a", compression=zipfile.ZIP_LZMA), 60),
    "damaged-xz.tar": lambda: flipped(tar_of("a", mode="w:xz"), 1500),
    "damaged-checksum.zip": lambda: flipped(zip_of("a"), 500),
    "damaged-offset.zip": lambda: flipped(zip_of("a"), -4),
    "empty.tar": lambda: tar_of("d/"),
    "empty.zip": lambda: zip_of(),
    "zeros.tar": lambda: bytes(10240),
    "cut.tar": lambda: hostile_tar(member("a", 4096))[:3000],
}
