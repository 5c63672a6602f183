"""What a WASM module is, read from its bytes alone: sections, bounds, imports, entry point.

This is the check a module passes before anything costly looks at it. It reads the outline of the
binary format (sections, types, imports, exports, sizes of function bodies) and nothing inside
function bodies; full validation is wasmtime's and comes after. Every count in the file is treated
as hostile: no list is made from a count, items are read one by one from bytes that are there.

Source: WebAssembly core specification 2.0, chapter 5 (binary format); WASI preview 1.
"""

from collections.abc import Callable
from typing import Final, Literal, NoReturn

import msgspec

from headrace.wire.limits import MODULE_BYTES_MAX

RefusalCode = Literal[
    "module_not_wasm",
    "module_too_large",
    "module_malformed",
    "module_import_unknown",
    "module_entry_point_missing",
    "module_feature_unsupported",
]

FUNCTIONS_MAX: Final = 20_000
"""100,000 tiny functions in 400 KB took 3.4 s and 576 MB to compile; real programs have < 5,000."""
FUNCTION_BODY_BYTES_MAX: Final = 256 << 10
"""One function is compiled as one unit. A published SAT solver has a body of 61,764 bytes, and
interpreter loops grow larger, so 50 KB would refuse honest modules; the compile deadline in the
sandbox covers what a body of this size can do."""
TYPES_MAX: Final = 10_000
TYPE_VALUES_MAX: Final = 1_000  # wasmtime's own limit on parameters, and on results
TYPES_WIDTH_CODE_MAX: Final = 32 * MODULE_BYTES_MAX
"""Values of the widest type × bytes of code. Two bytes of code can make a validator look at every
value of a type: 4 MiB of branches with 1,000 values took it 56 s. At this bound it takes 2 s, and
the widest type of published programs has 17 values."""
SECTIONS_MAX: Final = 1_000
"""Custom ones with them. 1,400,000 empty ones fit into a module, and took 3 s to step over."""
IMPORTS_MAX: Final = 1_000
EXPORTS_MAX: Final = 10_000
NAME_BYTES_MAX: Final = 4_096  # mangled C++ and Rust names reach about 1,000
TABLES_MAX: Final = 4
TABLE_ELEMENTS_MAX: Final = 10_000  # eight bytes each on the host, outside the job's memory limit
MEMORY_PAGES_MAX: Final = 65_536  # 4 GiB, all that 32 bits can address
PAGE_BYTES: Final = 65_536

assert FUNCTION_BODY_BYTES_MAX < MODULE_BYTES_MAX
assert IMPORTS_MAX < FUNCTIONS_MAX

ENGINE_FEATURES: Final[dict[str, bool]] = {
    "wasm_threads": False,
    "shared_memory": False,
    "wasm_memory64": False,
    "wasm_multi_memory": False,
    "wasm_gc": False,
    "gc_support": False,
    "wasm_function_references": False,
    "wasm_exceptions": False,
    "wasm_relaxed_simd": False,
    "wasm_component_model": False,
    "wasm_stack_switching": False,
    "wasm_wide_arithmetic": False,
    "wasm_custom_page_sizes": False,
}
"""Attributes of `wasmtime.Config` that server and sandbox set alike, so that what is accepted at
submit also compiles at run. Most advisories of 2026 sit in the proposals that are off here."""

PREVIEW1: Final = "wasi_snapshot_preview1"

# Name → parameters and results; i is i32, I is i64. These are the functions that wasmtime's
# `Linker.define_wasi` offers. The socket functions are allowed although no socket is ever open:
# programs link them without calling them, and a call answers "bad descriptor".
WASI_FUNCTIONS: Final[dict[str, str]] = {
    "args_get": "ii>i",
    "args_sizes_get": "ii>i",
    "clock_res_get": "ii>i",
    "clock_time_get": "iIi>i",
    "environ_get": "ii>i",
    "environ_sizes_get": "ii>i",
    "fd_advise": "iIIi>i",
    "fd_allocate": "iII>i",
    "fd_close": "i>i",
    "fd_datasync": "i>i",
    "fd_fdstat_get": "ii>i",
    "fd_fdstat_set_flags": "ii>i",
    "fd_fdstat_set_rights": "iII>i",
    "fd_filestat_get": "ii>i",
    "fd_filestat_set_size": "iI>i",
    "fd_filestat_set_times": "iIIi>i",
    "fd_pread": "iiiIi>i",
    "fd_prestat_dir_name": "iii>i",
    "fd_prestat_get": "ii>i",
    "fd_pwrite": "iiiIi>i",
    "fd_read": "iiii>i",
    "fd_readdir": "iiiIi>i",
    "fd_renumber": "ii>i",
    "fd_seek": "iIii>i",
    "fd_sync": "i>i",
    "fd_tell": "ii>i",
    "fd_write": "iiii>i",
    "path_create_directory": "iii>i",
    "path_filestat_get": "iiiii>i",
    "path_filestat_set_times": "iiiiIIi>i",
    "path_link": "iiiiiii>i",
    "path_open": "iiiiiIIii>i",
    "path_readlink": "iiiiii>i",
    "path_remove_directory": "iii>i",
    "path_rename": "iiiiii>i",
    "path_symlink": "iiiii>i",
    "path_unlink_file": "iii>i",
    "poll_oneoff": "iiii>i",
    "proc_exit": "i>",
    "proc_raise": "i>i",
    "random_get": "ii>i",
    "sched_yield": ">i",
    "sock_accept": "iii>i",
    "sock_recv": "iiiiii>i",
    "sock_send": "iiiii>i",
    "sock_shutdown": "ii>i",
}

_MAGIC: Final = b"\0asm"
_VERSION_CORE: Final = b"\x01\x00\x00\x00"
_KINDS: Final = ("function", "table", "memory", "global")
_VALUE_TYPES: Final = {0x7F: "i", 0x7E: "I", 0x7D: "f", 0x7C: "F", 0x7B: "v", 0x70: "r"}
_VALUE_LETTERS: Final = bytes(ord(_VALUE_TYPES.get(byte, "?")) for byte in range(256))
# Section ids in the order in which a file has them. Custom sections (0) may stand anywhere.
_SECTION_IDS: Final = (1, 2, 3, 4, 5, 13, 6, 7, 8, 9, 12, 10, 11)
_SECTION_ORDER: Final = {section: place for place, section in enumerate(_SECTION_IDS, start=1)}
_DETAIL_NAME_CHARS: Final = 120  # a hostile name must not fill an answer


class ModuleRefused(Exception):  # noqa: N818  a statement, like the problems it becomes
    """The module will not be run here.

    code: one of `RefusalCode`, stable, for programs. detail: a sentence for people.
    subject: what it is about, such as the name of the import.
    """

    def __init__(self, code: RefusalCode, detail: str, subject: str = "") -> None:
        super().__init__(f"{code}: {detail}")
        self.code: RefusalCode = code
        self.detail = detail
        self.subject = subject


class ModuleInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The outline of a module that passed `inspect_module`."""

    size_bytes: int
    functions: int  # defined in the module, imports not counted
    imports: tuple[tuple[str, str, str], ...]  # module, name, kind
    exports: dict[str, str]  # name → kind
    function_exports: dict[str, tuple[int, int]]  # name → number of parameters, of results
    memory_pages_min: int  # 0 without a memory
    memory_pages_max: int | None
    has_start: bool  # code that runs before the entry point


def verify_module(data: bytes, entry_point: str = "_start") -> ModuleInfo:
    """Check everything about a module that can be told without wasmtime.

    Raises: ModuleRefused.
    """
    info = inspect_module(data)
    kind = info.exports.get(entry_point)
    shown = _shown(entry_point)
    if kind is None:
        _refuse("module_entry_point_missing", f"the module does not export {shown}", shown)
    if kind != "function":
        _refuse("module_entry_point_missing", f"{shown} is a {kind}, not a function", shown)
    params, _ = info.function_exports[entry_point]
    if params:
        detail = f"{shown} takes {params} parameters; an entry point takes none"
        _refuse("module_entry_point_missing", detail, shown)
    return info


def inspect_module(data: bytes) -> ModuleInfo:
    """Read the outline of a module and hold it against the bounds and the import list.

    Cost: linear in the number of types, imports, functions and exports, all bounded.
    Raises: ModuleRefused.
    """
    if len(data) > MODULE_BYTES_MAX:
        detail = f"the module has {len(data)} bytes; {MODULE_BYTES_MAX} are allowed"
        _refuse("module_too_large", detail)
    if data[:4] != _MAGIC:
        detail = "the bytes do not start with the WASM magic number"
        if data.lstrip()[:7] == b"(module":
            detail = "this is WASM text; send the binary format"
        _refuse("module_not_wasm", detail)
    if data[4:8] != _VERSION_CORE:
        detail = "this is not a core module of version 1"
        if data[6:8] == b"\x01\x00":
            detail = "this is a WASM component; send a core module for WASI preview 1"
        _refuse("module_not_wasm", detail)
    return _Outline(data).read()


class _Outline:
    """One pass over one module. A fresh object per module; nothing is kept."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 8
        self.end = len(data)  # of the section being read
        self.types: list[tuple[str, str]] = []
        self.imports: list[tuple[str, str, str]] = []
        self.function_types: list[int] = []  # imported ones first, as the format numbers them
        self.functions = 0
        self.bodies = 0
        self.tables = 0
        self.memories: list[tuple[int, int | None]] = []
        self.exports: dict[str, str] = {}
        self.exported_functions: dict[str, int] = {}
        self.start: int | None = None

    def read(self) -> ModuleInfo:
        readers: dict[int, Callable[[], None]] = {
            1: self.read_types,
            2: self.read_imports,
            3: self.read_functions,
            4: self.read_tables,
            5: self.read_memories,
            7: self.read_exports,
            8: self.read_start,
            10: self.read_code,
        }
        size = len(self.data)
        place = sections = 0
        while self.at < size:
            self.end = size
            sections += 1
            if sections > SECTIONS_MAX:
                detail = f"the module has more than {SECTIONS_MAX} sections"
                _refuse("module_too_large", detail, "sections")
            section = self.data[self.at]
            self.at += 1
            length = self.u32()
            if length > size - self.at:
                self.malformed(f"section {section} is cut short")
            self.end = self.at + length
            if section == 0:
                self.name()  # must be there; the rest of a custom section is nobody's concern
                self.at = self.end
                continue
            place = self.check_place(section, place)
            reader = readers.get(section)
            if reader is None:
                self.at = self.end
                continue
            reader()
            if self.at != self.end:
                self.malformed(f"section {section} has bytes left over")
        return self.info()

    def check_place(self, section: int, place: int) -> int:
        if section == 13:
            _refuse("module_feature_unsupported", "the module uses exceptions (tags)", "exceptions")
        order = _SECTION_ORDER.get(section)
        if order is None:
            self.malformed(f"there is no section {section}")
        if order <= place:
            self.malformed(f"section {section} is out of order or repeated")
        return order

    def info(self) -> ModuleInfo:
        if self.bodies != self.functions:
            self.malformed(f"{self.functions} functions are declared and {self.bodies} have bodies")
        signatures = {
            name: self.types[self.function_types[index]]
            for name, index in self.exported_functions.items()
        }
        if self.start is not None and self.types[self.function_types[self.start]] != ("", ""):
            self.malformed("the start function has parameters or results")
        pages_min, pages_max = self.memories[0] if self.memories else (0, None)
        return ModuleInfo(
            size_bytes=len(self.data),
            functions=self.functions,
            imports=tuple(self.imports),
            exports=self.exports,
            function_exports={
                name: (len(params), len(results)) for name, (params, results) in signatures.items()
            },
            memory_pages_min=pages_min,
            memory_pages_max=pages_max,
            has_start=self.start is not None,
        )

    # Sections, in file order.

    def read_types(self) -> None:
        for _ in range(self.count("types", TYPES_MAX)):
            form = self.byte()
            if form != 0x60:
                detail = "the module uses types of the GC proposal"
                _refuse("module_feature_unsupported", detail, "gc")
            self.types.append((self.value_types(), self.value_types()))

    def read_imports(self) -> None:
        for _ in range(self.count("imports", IMPORTS_MAX)):
            module = self.name()
            name = self.name()
            kind = self.byte()
            subject = f"{_shown(module)}::{_shown(name)}"
            expected = WASI_FUNCTIONS.get(name) if module == PREVIEW1 else None
            if kind != 0 or expected is None:
                detail = f"the module imports {subject}, which this sandbox does not offer"
                _refuse("module_import_unknown", detail, subject)
            type_index = self.type_index()
            found = ">".join(self.types[type_index])
            if found != expected:
                detail = f"the module imports {subject} with another signature than WASI's"
                _refuse("module_import_unknown", detail, subject)
            self.imports.append((module, name, "function"))
            self.function_types.append(type_index)

    def read_functions(self) -> None:
        self.functions = self.count("functions", FUNCTIONS_MAX)
        for _ in range(self.functions):
            self.function_types.append(self.type_index())

    def read_tables(self) -> None:
        self.tables = self.count("tables", TABLES_MAX)
        for _ in range(self.tables):
            element = self.byte()
            if element != 0x70:
                detail = "the module has a table of something other than plain functions"
                _refuse("module_feature_unsupported", detail, "tables")
            flags = self.byte()
            if flags > 1:
                detail = "the module uses a shared or 64-bit table"
                _refuse("module_feature_unsupported", detail, "memory64")
            elements = self.u32()
            if elements > TABLE_ELEMENTS_MAX:
                detail = f"a table has {elements} elements; {TABLE_ELEMENTS_MAX} are allowed"
                _refuse("module_too_large", detail, "table")
            if flags:
                self.u32()

    def read_memories(self) -> None:
        count = self.u32()
        if count > 1:
            detail = f"the module has {count} memories; one is allowed"
            _refuse("module_feature_unsupported", detail, "multi_memory")
        for _ in range(count):
            flags = self.byte()
            for bit, feature in ((2, "shared memory"), (4, "memory64"), (8, "custom page sizes")):
                if flags & bit:
                    detail = f"the module uses {feature}"
                    _refuse("module_feature_unsupported", detail, feature.replace(" ", "_"))
            if flags > 1:
                self.malformed("the memory has unknown flags")
            pages_min = self.u32()
            pages_max = self.u32() if flags else None
            if max(pages_min, pages_max or 0) > MEMORY_PAGES_MAX:
                self.malformed("the memory is larger than 4 GiB")
            self.memories.append((pages_min, pages_max))

    def read_exports(self) -> None:
        for _ in range(self.count("exports", EXPORTS_MAX)):
            name = self.name()
            kind = self.byte()
            index = self.u32()
            if kind == 4:
                _refuse("module_feature_unsupported", "the module exports a tag", "exceptions")
            if kind > 4:
                self.malformed(f"there is no export kind {kind}")
            if name in self.exports:
                self.malformed(f"{_shown(name)} is exported twice")
            self.exports[name] = _KINDS[kind]
            if kind == 0:
                if index >= len(self.function_types):
                    self.malformed(f"{_shown(name)} exports a function that is not there")
                self.exported_functions[name] = index

    def read_start(self) -> None:
        self.start = self.u32()
        if self.start >= len(self.function_types):
            self.malformed("the start function is not there")

    def read_code(self) -> None:
        self.bodies = self.count("functions", FUNCTIONS_MAX)
        widest = max((len(values) for pair in self.types for values in pair), default=0)
        if widest * (self.end - self.at) > TYPES_WIDTH_CODE_MAX:
            detail = f"a type has {widest} values; with so much code fewer are allowed"
            _refuse("module_too_large", detail, "types")
        for _ in range(self.bodies):
            size = self.u32()
            if size > self.end - self.at:
                self.malformed("a function body is cut short")
            if size > FUNCTION_BODY_BYTES_MAX:
                detail = f"a function has {size} bytes; {FUNCTION_BODY_BYTES_MAX} are allowed"
                _refuse("module_too_large", detail, "function")
            self.at += size

    # Items.

    def count(self, noun: str, limit: int) -> int:
        """Read a count. An item takes a byte at least, so it is never above the bytes left."""
        count = self.u32()
        if count > limit:
            _refuse("module_too_large", f"the module has {count} {noun}; {limit} are allowed", noun)
        if count > self.end - self.at:
            self.malformed(f"{count} {noun} do not fit into their section")
        return count

    def byte(self) -> int:
        if self.at >= self.end:
            self.malformed("a section is cut short")
        self.at += 1
        return self.data[self.at - 1]

    def u32(self) -> int:
        """Read an unsigned LEB128 of at most five bytes and 32 bits."""
        data, at, end = self.data, self.at, self.end
        value = shift = 0
        while True:
            if at >= end:
                self.malformed("a number is cut short")
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value > 0xFFFF_FFFF:
                    self.malformed("a number has more than 32 bits")
                self.at = at
                return value
            shift += 7
            if shift > 28:
                self.malformed("a number is longer than five bytes")

    def name(self) -> str:
        size = self.u32()
        if size > self.end - self.at:
            self.malformed("a name is cut short")
        if size > NAME_BYTES_MAX:
            detail = f"a name has {size} bytes; {NAME_BYTES_MAX} are allowed"
            _refuse("module_too_large", detail, "name")
        raw = self.data[self.at : self.at + size]
        self.at += size
        try:
            return raw.decode()
        except UnicodeDecodeError:
            self.malformed("a name is not UTF-8")

    def value_types(self) -> str:
        count = self.count("values in a type", TYPE_VALUES_MAX)
        raw = self.data[self.at : self.at + count]
        self.at += count
        values = raw.translate(_VALUE_LETTERS).decode("ascii")
        if "?" in values:
            detail = "the module uses value types of a later proposal"
            _refuse("module_feature_unsupported", detail, "types")
        return values

    def type_index(self) -> int:
        index = self.u32()
        if index >= len(self.types):
            self.malformed("a function has a type that is not there")
        return index

    def malformed(self, detail: str) -> NoReturn:
        _refuse("module_malformed", f"{detail} (at byte {self.at})")


def _refuse(code: RefusalCode, detail: str, subject: str = "") -> NoReturn:
    raise ModuleRefused(code, detail, subject)


def _shown(name: str) -> str:
    """A name from the file, safe in a message: printable and short."""
    printable = "".join(char if char.isprintable() else "�" for char in name)
    if len(printable) > _DETAIL_NAME_CHARS:
        return printable[:_DETAIL_NAME_CHARS] + "…"
    return printable
