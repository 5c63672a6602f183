"""The load that measures a server: `headrace bench` on any machine, and the programs of `bench/`.

    process.py     a server process on a core of its own; its CPU and memory
    connection.py  one connection with one request under way, and loops over many of them
    http.py        headrace's requests and answers, as bytes
    workloads.py   what is measured (W1 to W5), for headrace and for whatever is compared with it
    measures.py    percentiles, medians, and what a reader must know of the machine

**Invariant:** nothing here is in a server; it meets one only through a socket and `/proc`.
"""
