"""What ``fedroto doctor`` looks at on both sides: the exact fault, with the values, and the next step.

    finding.py       one finding, a whole examination, and how a raised error becomes a finding
    installation.py  the packages that are installed
    disk.py          where the home lies: room, file system, locks
    files.py         private files and folders, certificates on disk
    dialling.py      a TCP connection to the coordinator, through a web proxy if the environment names one
    line.py          the whole line to the coordinator: name, port, TLS, certificate, health, clock

Looking changes nothing: probes write only files of their own, and remove them.
"""
