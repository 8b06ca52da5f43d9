"""Lists of images, classes and seen classes, and tables of images, as other programs write them."""

import os

from tests.hostile.pictures import CALIBRATE
from tests.hostile.row import Row, both, every, folder_at, link, nothing, raw, remove, replace, text

LIST, TABLE = CALIBRATE + " --data list.txt", "manifest create table.csv --name trees"
SEEN = CALIBRATE + " --seen seen.txt"


def listed(title, content, *words):
    """A row for a list of fine-tuning images."""
    return Row(f"a list {title}", raw("list.txt", content), LIST, ("list.txt", *words))


def tabled(title, content, *words):
    """A row for a table of images."""
    return Row(f"a table {title}", raw("table.csv", content), TABLE, ("table.csv", *words))


def named(title, content, *words):
    """A row for the file of --classes."""
    return Row(f"class names {title}", raw("names.txt", content), CALIBRATE, ("names.txt", *words))


def seen(title, content, *words):
    """A row for the file of --seen."""
    return Row(f"seen classes {title}", raw("seen.txt", content), SEEN, words)


ROWS = [
    listed("that is empty", b"", "empty", "label"),
    listed("of blank lines", b"\n \n", "empty", "label"),
    listed("without labels", b"seen/ash/0.png\n", "label", "correct the list"),
    listed("with an absolute path", b"/etc/passwd ash\n", "leaves the list's folder"),
    listed("with a climbing path", b"../outside/secret.png ash\n", "leaves the list's folder"),
    listed("of files that are not there", b"seen/ash/9.png ash\n", "not there", "9.png"),
    listed("with a folder as a file", b"seen/ash ash\n", "not there"),
    listed("in UTF-16", "seen/ash/0.png ash\n".encode("utf-16"), "UTF-8"),
    listed("in Latin-1", "seen/bäume/0.png ash\n".encode("latin-1"), "UTF-8"),
    listed("with a NUL", b"seen/ash/0\0.png ash\n", ""),
    listed("with an unknown class", b"seen/ash/0.png oak\n", "'oak'"),
    listed("with a class out of range", b"seen/ash/0.png 7\n", "'7'"),
    listed("with a label in Arabic digits of no class", "seen/ash/0.png ٧\n".encode(), "٧"),
    listed("with a superscript as label", "seen/ash/0.png ²\n".encode(), "²"),
    listed("of a picture that lies", b"list.txt ash\n", "list.txt"),
    Row("a list that is a pipe", both(remove("list.txt"), lambda: os.mkfifo("list.txt")), LIST, ("list.txt",)),
    Row("a list through a link out", both(link("seen/ash/0.png", "/etc/passwd")), LIST, ("lead out", "seen/ash/0.png")),
    Row("a list of another name", nothing, CALIBRATE + " --data lists.txt", ("lists.txt", "give a folder")),
    tabled("that is empty", b"", "give a CSV file"),
    tabled("with a header alone", b"path,label\n", "empty"),
    tabled("with another header", b"file,species\npictures/ash/0.png,ash\n", "--column"),
    tabled("without a header", b"pictures/ash/0.png,ash\n", "--column"),
    tabled("with label and class", b"path,label,class\npictures/ash/0.png,ash,ash\n", "--column label"),
    tabled("with a column twice", b"path,path,label\npictures/ash/0.png,x,ash\n", "path"),
    tabled("with too many cells", b"path,label\na,b,c\nd,e,f\n", "more cells"),
    tabled("with too many cells once", b"path,label\na,b\nd,e,f\n", "table.csv"),
    tabled("with an empty label", b"path,label\npictures/ash/0.png,\n", "no label"),
    tabled("with an unknown split", b"path,label,split\npictures/ash/0.png,ash,dev\n", "'dev'"),
    tabled("with a date that is none", b"path,label,date\npictures/ash/0.png,ash,soon\n", "date"),
    tabled("in UTF-16", "path,label\npictures/ash/0.png,ash\n".encode("utf-16"), "CSV"),
    tabled("with a climbing path", b"path,label\n../outside/secret.png,ash\n", "leaves the list's folder"),
    tabled("with a NUL", b"path,label\npictures/ash/0\0.png,ash\n", ""),
    tabled("with an open quote", b'path,label\n"pictures/ash/0.png,ash\n', ""),
    tabled("with a newline in a cell", b'path,label\n"pictures/a\nsh.png",ash\n', "not there"),
    tabled("with a newline in a class", b'path,label\npictures/ash/0.png,"a\nsh"\npictures/birch/0.png,b\n', "a\\nsh"),
    tabled("of one class", b"path,label\npictures/ash/0.png,ash\npictures/ash/1.png,ash\n", "1 class"),
    tabled("with ids that have gaps", b"path,label\npictures/ash/0.png,0\npictures/ash/1.png,5\n", "--classes"),
    Row("a table whose column is another", nothing, TABLE + " --column label=species", ("'species'", "table.csv")),
    Row("a column of ours that is none", nothing, TABLE + " --column colour=label", ("'colour'", "--column")),
    Row("a column without a sign", nothing, TABLE + " --column label", ("--column", "'label'")),
    named("that are empty", b"", "0 names", "one name a line"),
    named("that are too few", b"ash\nbirch\n", "2 names", "3 outputs"),
    named("that repeat", b"ash\nash\ncedar\n", "2 of them distinct"),
    named("in UTF-16", "ash\nbirch\ncedar\n".encode("utf-16"), "UTF-8"),
    named("with a NUL", b"ash\nbir\0ch\ncedar\n", "control character"),
    named("with an escape sequence", b"ash\nbir\x1b[2Jch\ncedar\n", "control character"),
    Row("class names that are a folder", both(remove("names.txt"), folder_at("names.txt")), CALIBRATE, ("names.txt",)),
    Row("class names that are not there", remove("names.txt"), CALIBRATE, ("names.txt",)),
    seen("that are empty", b"", "seen set is empty"),
    seen("that are all", b"ash\nbirch\ncedar\n", "absent set is empty", "leave at least one out"),
    seen("that repeat", b"ash\nash\n", "twice"),
    seen("that are unknown", b"ash\noak\n", "--seen", "'oak'"),
    seen("out of range", b"0\n9\n", "--seen", "'9'"),
    seen("below zero", b"-1\n", "--seen", "'-1'"),
    seen("in UTF-16", "ash\n".encode("utf-16"), "seen.txt", "UTF-8"),
    Row("seen classes as nothing", nothing, CALIBRATE + " --seen ''", ("seen set is empty",)),
    Row("seen classes as commas", nothing, CALIBRATE + " --seen ,,", ("seen set is empty",)),
    Row("seen classes as a folder", nothing, CALIBRATE + " --seen pictures", ("--seen", "'pictures'")),
    Row("a share that leaves no class", nothing, TABLE + " --seen 0.0", ("--seen", "0.0")),
    Row("a share that leaves all", nothing, TABLE + " --seen 1.0", ("--seen", "1.0")),
]

FINE = [
    Row("a list with a BOM", replace("list.txt", b"seen", "\ufeffseen".encode()), LIST),
    Row("a list with CRLF", text("list.txt", "seen/ash/0.png ash\r\nseen/birch/0.png birch\r\n"), LIST),
    Row(
        "a list with a blank in a path",
        both(lambda: os.rename("seen/ash/0.png", "seen/ash/a b.png"), text("list.txt", "seen/ash/a b.png ash\n")),
        LIST,
    ),
    Row("class names with a BOM and CRLF", raw("names.txt", "\ufeffash\r\nbirch\r\ncedar\r\n".encode()), CALIBRATE),
    Row("seen classes with a BOM and CRLF", raw("seen.txt", "\ufeffash\r\nbirch\r\n".encode()), SEEN),
    Row("a table with a BOM", replace("table.csv", b"path", "\ufeffpath".encode()), TABLE),
    Row("a table with CRLF", every("table.csv", b"\n", b"\r\n"), TABLE),
]
