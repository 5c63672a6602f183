"""LMDB 0.9 as its header declares it, with every function looked up at run time.

The wheel of py-lmdb carries the engine inside its extension and exports its functions as
`mdb09_*`. They are taken from there, so that one process holds one copy of LMDB, in the version
that the dependency names, and nothing has to be linked.
Source: lmdb.h of LMDB 0.9.36.
"""

cdef extern from "dlfcn.h" nogil:
    void* dlopen(const char* file, int mode)
    void* dlsym(void* handle, const char* name)
    int RTLD_NOW
    int RTLD_NOLOAD

ctypedef void MDB_env
ctypedef void MDB_txn
ctypedef void MDB_cursor
ctypedef unsigned int MDB_dbi

ctypedef struct MDB_val:
    size_t mv_size
    void* mv_data

ctypedef struct MDB_stat:
    unsigned int ms_psize
    unsigned int ms_depth
    size_t ms_branch_pages
    size_t ms_leaf_pages
    size_t ms_overflow_pages
    size_t ms_entries

ctypedef struct MDB_envinfo:
    void* me_mapaddr
    size_t me_mapsize
    size_t me_last_pgno
    size_t me_last_txnid
    unsigned int me_maxreaders
    unsigned int me_numreaders

cdef enum:
    MDB_NOTLS = 0x200000
    MDB_RDONLY = 0x20000
    MDB_NORDAHEAD = 0x800000
    MDB_CREATE = 0x40000
    MDB_APPEND = 0x20000
    MDB_FIRST = 0
    MDB_LAST = 6
    MDB_NEXT = 8
    MDB_PREV = 12
    MDB_SET = 15
    MDB_SET_RANGE = 17
    MDB_NOTFOUND = -30798
    MDB_CORRUPTED = -30796

ctypedef struct Api:
    char* (*version)(int*, int*, int*) noexcept nogil
    char* (*strerror)(int) noexcept nogil
    int (*env_create)(MDB_env**) noexcept nogil
    int (*env_open)(MDB_env*, const char*, unsigned int, unsigned int) noexcept nogil
    void (*env_close)(MDB_env*) noexcept nogil
    int (*env_set_mapsize)(MDB_env*, size_t) noexcept nogil
    int (*env_set_maxreaders)(MDB_env*, unsigned int) noexcept nogil
    int (*env_set_maxdbs)(MDB_env*, MDB_dbi) noexcept nogil
    int (*env_set_assert)(MDB_env*, void (*)(MDB_env*, const char*) noexcept nogil) noexcept nogil
    int (*env_stat)(MDB_env*, MDB_stat*) noexcept nogil
    int (*env_info)(MDB_env*, MDB_envinfo*) noexcept nogil
    int (*reader_check)(MDB_env*, int*) noexcept nogil
    int (*txn_begin)(MDB_env*, MDB_txn*, unsigned int, MDB_txn**) noexcept nogil
    int (*txn_commit)(MDB_txn*) noexcept nogil
    void (*txn_abort)(MDB_txn*) noexcept nogil
    int (*dbi_open)(MDB_txn*, const char*, unsigned int, MDB_dbi*) noexcept nogil
    int (*stat)(MDB_txn*, MDB_dbi, MDB_stat*) noexcept nogil
    int (*get)(MDB_txn*, MDB_dbi, MDB_val*, MDB_val*) noexcept nogil
    int (*cursor_open)(MDB_txn*, MDB_dbi, MDB_cursor**) noexcept nogil
    void (*cursor_close)(MDB_cursor*) noexcept nogil
    int (*cursor_get)(MDB_cursor*, MDB_val*, MDB_val*, int) noexcept nogil
    int (*cursor_put)(MDB_cursor*, MDB_val*, MDB_val*, unsigned int) noexcept nogil
    int (*cursor_del)(MDB_cursor*, unsigned int) noexcept nogil


cdef inline void* symbol(void* library, const char* name) except NULL:
    cdef void* found = dlsym(library, name)
    if found == NULL:
        raise ImportError(f"{name.decode()} is not there")
    return found


cdef inline int api_load(Api* api, const char* file) except -1:
    """Take the functions from an extension that is loaded. Raises: ImportError."""
    cdef void* library = dlopen(file, RTLD_NOW | RTLD_NOLOAD)
    cdef int major, minor, patch
    if library == NULL:
        raise ImportError(f"{file.decode()} is not loaded")
    (<void**>&api.version)[0] = symbol(library, b"mdb09_version")
    (<void**>&api.strerror)[0] = symbol(library, b"mdb09_strerror")
    (<void**>&api.env_create)[0] = symbol(library, b"mdb09_env_create")
    (<void**>&api.env_open)[0] = symbol(library, b"mdb09_env_open")
    (<void**>&api.env_close)[0] = symbol(library, b"mdb09_env_close")
    (<void**>&api.env_set_mapsize)[0] = symbol(library, b"mdb09_env_set_mapsize")
    (<void**>&api.env_set_maxreaders)[0] = symbol(library, b"mdb09_env_set_maxreaders")
    (<void**>&api.env_set_maxdbs)[0] = symbol(library, b"mdb09_env_set_maxdbs")
    (<void**>&api.env_set_assert)[0] = symbol(library, b"mdb09_env_set_assert")
    (<void**>&api.env_stat)[0] = symbol(library, b"mdb09_env_stat")
    (<void**>&api.env_info)[0] = symbol(library, b"mdb09_env_info")
    (<void**>&api.reader_check)[0] = symbol(library, b"mdb09_reader_check")
    (<void**>&api.txn_begin)[0] = symbol(library, b"mdb09_txn_begin")
    (<void**>&api.txn_commit)[0] = symbol(library, b"mdb09_txn_commit")
    (<void**>&api.txn_abort)[0] = symbol(library, b"mdb09_txn_abort")
    (<void**>&api.dbi_open)[0] = symbol(library, b"mdb09_dbi_open")
    (<void**>&api.stat)[0] = symbol(library, b"mdb09_stat")
    (<void**>&api.get)[0] = symbol(library, b"mdb09_get")
    (<void**>&api.cursor_open)[0] = symbol(library, b"mdb09_cursor_open")
    (<void**>&api.cursor_close)[0] = symbol(library, b"mdb09_cursor_close")
    (<void**>&api.cursor_get)[0] = symbol(library, b"mdb09_cursor_get")
    (<void**>&api.cursor_put)[0] = symbol(library, b"mdb09_cursor_put")
    (<void**>&api.cursor_del)[0] = symbol(library, b"mdb09_cursor_del")
    api.version(&major, &minor, &patch)
    if (major, minor) != (0, 9):
        raise ImportError(f"LMDB {major}.{minor}.{patch} is not 0.9")
    return 0
