"""Archives that must not be unpacked, each a function that returns its bytes."""

import io
import tarfile
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
    "cut.tar": lambda: hostile_tar(member("a", 4096))[:3000],
}
